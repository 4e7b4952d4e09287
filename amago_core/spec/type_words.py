"""Types of options in words, for `amago explain`: ``integer, at least 1, or null``."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic.fields import FieldInfo

from amago_registry.options import part_kind

_WORDS: dict[Any, str] = {
    int: "integer",
    float: "number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    dict: "mapping",
}

_BOUNDS = (
    (Ge, "ge", "at least"),
    (Gt, "gt", "above"),
    (Le, "le", "at most"),
    (Lt, "lt", "below"),
    (MultipleOf, "multiple_of", "a multiple of"),
)


def type_words(field: FieldInfo) -> str:
    """Return what may be written for an option, such as ``integer, at least 1, or null``."""
    return _words(field.annotation, field.metadata)


def _words(annotation: Any, metadata: list[Any]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = arguments[1:]
        nested = [item for extra in inner for item in (extra.metadata if _is_field(extra) else [extra])]
        return _words(arguments[0], [*nested, *metadata])
    if origin in (Union, UnionType):
        return _either(arguments, metadata)
    kind = part_kind(annotation)
    if kind is not None:
        return kind
    if origin is Literal:
        return " or ".join(str(argument) for argument in arguments)
    if origin in (list, tuple):
        return f"list of: {_words(arguments[0], [])}"
    word = _WORDS.get(origin or annotation, str(getattr(annotation, "__name__", annotation)))
    return ", ".join([word, *_bounds(metadata)])


def _either(members: tuple[Any, ...], metadata: list[Any]) -> str:
    words = [_words(member, metadata) for member in members if member is not type(None)]
    if type(None) in members:
        words.append("null")
    return ", or ".join(words) if any("," in word for word in words) else " or ".join(words)


def _bounds(metadata: list[Any]) -> list[str]:
    return [
        f"{words} {getattr(item, attribute):g}"
        for bound, attribute, words in _BOUNDS
        for item in metadata
        if isinstance(item, bound)
    ]


def _is_field(item: object) -> bool:
    return isinstance(item, FieldInfo)

"""Options models (pydantic) of parts, and nested parts as fields of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError, core_schema

from amago_registry.errors import CatalogError
from amago_registry.kinds import KINDS

if TYPE_CHECKING:
    from amago_registry.catalog import Catalog, Entry

KindName = TypeVar("KindName")

Ints = Annotated[tuple[int, ...], Field(strict=False)]
"""A tuple of integers that a spec writes as a list."""

Widths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]
"""A tuple of layer widths, each at least 1, that a spec writes as a list."""

Floats = Annotated[tuple[float, ...], Field(strict=False)]
"""A tuple of numbers that a spec writes as a list."""


class Options(BaseModel):
    """Base class of options models: strict, frozen, no extra keys, no NaN, defaults validated.

    Give every field a default, a range and one sentence about its effect.

    Attributes:
        renamed_keys: Renamed options: old name to new name. A spec may use an old name for one more
            version; a warning with the new name is logged once.
    """

    renamed_keys: ClassVar[Mapping[str, str]] = MappingProxyType({})

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _name_default_parts(cls, data: Any) -> Any:
        """Complete a nested part without ``use``: ``{layers: 2}`` gets the default's name."""
        if not isinstance(data, Mapping):
            return data
        completed = dict(data)
        for name, field in cls.model_fields.items():
            given = completed.get(name)
            if not isinstance(given, Mapping) or "use" in given or not isinstance(field.default, str):
                continue
            if part_kind(field.annotation) is not None:
                completed[name] = {"use": field.default, **given}
        return completed


class Part(Generic[KindName]):
    """A part chosen in a spec: a catalog entry with validated options. Immutable.

    Annotate a nested part with its kind, and use a name as the default:
    ``attention: Part[Literal["attention"]] = Field("auto", validate_default=True, description=...)``
    (with ``validate_default=True`` type checkers accept the name). A spec then writes
    ``attention: sdpa`` or ``attention: {use: sdpa, ...}``. ``Part[...] | None`` and
    ``list[Part[...]]`` work too. The part that has these options builds it with ``context.build``.

    Args:
        kind: Name of the kind.
        entry: The catalog's entry.
        options: The component's validated options.
    """

    # Not a dataclass: pydantic would build the schema from the fields of a generic dataclass and never
    # call __get_pydantic_core_schema__.
    __slots__ = ("entry", "kind", "options")

    kind: str
    entry: Entry
    options: Options

    def __init__(self, kind: str, entry: Entry, options: Options) -> None:
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "entry", entry)
        object.__setattr__(self, "options", options)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a part cannot be changed; {name!r} was assigned")

    def __reduce__(self) -> tuple[object, ...]:
        # For copy.deepcopy, which would otherwise assign the attributes.
        return (Part, (self.kind, self.entry, self.options))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Part):
            return NotImplemented
        return (self.kind, self.entry, self.options) == (other.kind, other.entry, other.options)

    def __hash__(self) -> int:
        return hash((self.kind, self.entry, self.options))

    def __repr__(self) -> str:
        return f"Part({self.kind!r}, {self.use!r}, {self.options!r})"

    @property
    def use(self) -> str:
        """The full name, ``plugin/name``."""
        return self.entry.name

    def build(self, context: Any) -> Any:
        """Import the component and build it.

        Raises:
            PartImportError: If the component's module cannot be imported.
        """
        return self.entry.load()(context, self.options)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Return the schema that validates a name, a mapping with ``use``, or a :class:`Part`."""
        kind = part_kind(source)
        if kind not in KINDS:
            raise TypeError(
                'annotate a nested part with its kind, as in Part[Literal["attention"]], '
                f"not {source!r}; the kinds are {', '.join(KINDS)}"
            )

        def validate(value: Any, info: core_schema.ValidationInfo[Any]) -> Part[Any]:
            return _choose(kind, value, info.context)

        return core_schema.with_info_plain_validator_function(
            validate,
            serialization=core_schema.plain_serializer_function_ser_schema(_dump),
        )


def part_kind(annotation: Any) -> str | None:
    """Return the kind in an annotation ``Part[Literal[kind]]`` or ``Part[Literal[kind]] | None``.

    None for any other annotation.
    """
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return part_kind(members[0]) if len(members) == 1 else None
    if get_origin(annotation) is not Part:
        return None
    (argument,) = get_args(annotation)
    if get_origin(argument) is not Literal:
        return None
    (kind, *others) = get_args(argument)
    return kind if isinstance(kind, str) and not others else None


def _choose(kind: str, value: Any, context: Any) -> Part[Any]:
    if isinstance(value, Part):
        return _same_kind(kind, value)
    if isinstance(value, str):
        value = {"use": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("use"), str):
        raise PydanticCustomError(
            "part",
            "names no {kind}. Write 'some-name' or '{use: some-name, ...}'; "
            "`amago components {kind}` lists them",
            {"kind": kind},
        )
    try:
        entry = catalog_of(context).find(kind, value["use"])
    except CatalogError as error:
        raise PydanticCustomError("unknown_part", "{reason}", {"reason": str(error)}) from None
    given = {key: option for key, option in value.items() if key != "use"}
    options = entry.component.options.model_validate(given, context=context)
    return Part(kind, entry, options)


def _same_kind(kind: str, part: Part[Any]) -> Part[Any]:
    if part.kind != kind:
        raise PydanticCustomError(
            "part_kind",
            "{use} is of the kind {kind}, not {wanted}",
            {"use": part.use, "kind": part.kind, "wanted": kind},
        )
    return part


def catalog_of(context: Any) -> Catalog:
    """Return the catalog of a validation context; by default that of the installed plugins."""
    if isinstance(context, Mapping) and "catalog" in context:
        catalog: Catalog = context["catalog"]
        return catalog
    from amago_registry.catalog import installed

    return installed()


def _dump(part: Part[Any]) -> dict[str, Any]:
    # By alias, so that the dump can be validated again.
    return {"use": part.use, **part.options.model_dump(by_alias=True)}


__all__ = ["Field", "Floats", "Ints", "Options", "Part", "Widths", "catalog_of", "part_kind"]

"""Problems of a spec as messages: the key, what is wrong, what is close, and which layer wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from amago_core.spec.paths import Path
from amago_core.spec.schema import RunSpec
from amago_core.spec.schema_tree import SchemaNode, schema_nodes
from amago_registry.catalog import Catalog
from amago_registry.errors import did_you_mean


@dataclass(frozen=True)
class Problem:
    """One problem of a spec.

    Args:
        path: The key; empty if the problem belongs to none.
        text: What is wrong and what to do.
        origin: The layer that wrote it; empty for the file.
    """

    path: Path
    text: str
    origin: str = ""

    def __str__(self) -> str:
        where = f"{'.'.join(str(key) for key in self.path)}: " if self.path else ""
        return f"{where}{self.text}{f' (from {self.origin})' if self.origin else ''}"


def report(spec: str, problems: Sequence[Problem]) -> str:
    """Return the message that lists all problems of the spec called ``spec``."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n  ".join([f"{spec} has {count}:", *map(str, problems)])


def translate(error: ValidationError, written: object, catalog: Catalog) -> list[Problem]:
    """Translate pydantic's validation errors about ``written`` into problems, one per key."""
    found: dict[Path, list[tuple[ErrorDetails, SchemaNode | None]]] = {}
    for detail in _without_consequences(error.errors(include_url=False)):
        path, parent = _locate(detail["loc"], written, catalog)
        found.setdefault(path, []).append((detail, parent))
    return [_problem(path, details, written, catalog) for path, details in found.items()]


def _without_consequences(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Drop "too short" errors of lists with invalid items, which pydantic does not count."""
    locations = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if detail["type"] != "too_short"
        or not any(detail["loc"] == each[: len(detail["loc"])] != each for each in locations)
    ]


def refused_by_omegaconf(error: OmegaConfBaseException) -> Problem:
    """Translate an OmegaConf error about a value into a problem."""
    text = str(error).strip().splitlines()[0]
    if isinstance(error, GrammarParseError):
        text = f"an interpolation has the form '${{key.path}}': {text}"
    path = tuple(str(error.full_key).split(".")) if error.full_key else ()
    return Problem(path, text)


def show(value: object) -> str:
    """Return a value as a spec would write it, shortened."""
    if isinstance(value, str):
        text = f"'{value}'"
    else:
        try:
            text = json.dumps(value)
        except (TypeError, ValueError):
            text = str(value)
    text = {"NaN": ".nan", "Infinity": ".inf", "-Infinity": "-.inf"}.get(text, text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _locate(loc: Path, written: Any, catalog: Catalog) -> tuple[Path, SchemaNode | None]:
    """Return the keys in a location, without pydantic's tags, and the parent node of the last key."""
    node: SchemaNode | None = SchemaNode(RunSpec)
    parent: SchemaNode | None = None
    path: list[str | int] = []
    for item in loc:
        if node is not None and len(node.alternatives) > 1:
            node = None  # The item is the alternative that pydantic tried, not a key.
            continue
        path.append(item)
        parent = node
        node = node.below(item, written, catalog) if node is not None else None
        written = _at(written, item)
    return tuple(path), parent


def _at(written: Any, key: str | int) -> Any:
    if isinstance(written, Mapping):
        return written.get(key)
    if isinstance(written, list | tuple) and isinstance(key, int) and key < len(written):
        return written[key]
    return None


def _problem(
    path: Path,
    details: list[tuple[ErrorDetails, SchemaNode | None]],
    written: object,
    catalog: Catalog,
) -> Problem:
    detail, parent = details[0]
    whole = written
    if detail["type"] == "unknown_part":
        return Problem((*path, "use"), detail["msg"])
    if detail["type"] in ("extra_forbidden", "invalid_key", "missing"):
        for key in path[:-1]:
            written = _at(written, key)
        if detail["type"] == "missing":
            return Problem(path, _missing_key(str(path[-1]), parent, written, catalog))
        elsewhere = _elsewhere(str(path[-1]), SchemaNode(RunSpec), whole, catalog)
        return Problem(path, _unknown_key(path, parent, written, elsewhere, catalog))
    expected = [_expectation(each) for each, _ in details]
    if any(words is None for words in expected):
        return Problem(path, _validator_message(detail))
    return Problem(path, f"{show(detail['input'])} is {_not([str(words) for words in expected])}")


def _unknown_key(
    path: Path, parent: SchemaNode | None, written: object, elsewhere: Sequence[str], catalog: Catalog
) -> str:
    key = str(path[-1])
    model = parent.model(written, catalog) if parent is not None else None
    known = list(schema_nodes(model)) if model is not None else []
    if parent is not None and parent.kind is not None:
        text, none = f"{parent.use(written)} has no such option.", "It has no options."
    else:
        text, none = "there is no such key.", ""
    everything = f"Possible: {', '.join(known)}." if known else none
    if elsewhere:
        here = [".".join(map(str, (*path[:-1], name))) for name in get_close_matches(key, known, n=1)]
        return f"{text} Did you mean {' or '.join(map(repr, [*here, *elsewhere]))}?"
    return f"{text}{did_you_mean(key, known) or f' {everything}'}".rstrip()


def _elsewhere(
    key: str, node: SchemaNode, written: object, catalog: Catalog, path: str = ""
) -> list[str]:
    """Return the paths below ``node`` at which the schema has ``key``, to suggest instead."""
    model = node.model(written, catalog)
    found = []
    for name, child in schema_nodes(model).items() if model is not None else ():
        found += [f"{path}{name}"] if name == key else []
        found += _elsewhere(key, child, _at(written, name), catalog, f"{path}{name}.")
    return found


def _missing_key(key: str, parent: SchemaNode | None, written: object, catalog: Catalog) -> str:
    model = parent.model(written, catalog) if parent is not None else None
    field = None if model is None else model.model_fields.get(key)
    owner = parent.use(written) if parent is not None and parent.kind is not None else "the spec"
    text = f"is missing; {owner} requires it"
    return f"{text}. {field.description}" if field is not None and field.description else text


def _not(expected: list[str]) -> str:
    distinct = list(dict.fromkeys(expected))
    if len(distinct) == 1:
        return f"not {distinct[0]}"
    return (
        f"neither {', nor '.join(distinct)}"
        if len(distinct) > 2
        else f"neither {' nor '.join(distinct)}"
    )


_PLAIN = {
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "int_parsing_size": "an integer of at most 4,300 digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "none_required": "null",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_BOUNDED = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
    "multiple_of": "a multiple of {multiple_of}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "too_short": "a list of at least {min_length} items",
    "too_long": "a list of at most {max_length} items",
}


def _expectation(detail: ErrorDetails) -> str | None:
    """Return what was expected, to follow "is not"; None if the error has a message of its own."""
    if detail["type"] in _BOUNDED:
        bounds = detail.get("ctx", {}).items()
        return _BOUNDED[detail["type"]].format_map(
            {name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in bounds}
        )
    return _PLAIN.get(detail["type"])


def _validator_message(detail: ErrorDetails) -> str:
    """Return the message of one of our validators, or else pydantic's."""
    raised = detail.get("ctx", {}).get("error")
    text = str(raised) if isinstance(raised, Exception) else detail["msg"]
    if detail["type"] in ("value_error", "assertion_error", "part"):
        return text
    return f"{show(detail['input'])}: {text}"

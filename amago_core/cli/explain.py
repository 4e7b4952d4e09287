"""``amago explain``: the options of a part, with YAML to copy; or the keys of a section of the spec."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from types import MappingProxyType
from typing import Any, TypeAlias, TypeGuard, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from amago_core.cli.tables import table
from amago_core.spec.schema import RunSpec
from amago_core.spec.type_words import type_words
from amago_registry.catalog import Catalog, Entry, installed
from amago_registry.errors import CatalogError, did_you_mean
from amago_registry.kinds import KINDS
from amago_registry.options import Options

_KEYS = {
    "environment": "environment",
    "encoder": "agent.encoder",
    "backbone": "agent.backbone",
    "attention": "agent.backbone.attention",
    "actor": "agent.actor",
    "critic": "agent.critic",
    "objective": "agent.objective",
    "exploration": "exploration",
    "relabeler": "relabeler",
    "dataset": "dataset",
    "tracker": "trackers",
}
"""Key of the spec that chooses the part of each kind."""

_INDENT = "  "

Defaults: TypeAlias = Mapping[str, Any]

_NONE: Defaults = MappingProxyType({})


@click.command("explain")
@click.argument("kind")
@click.argument("name", required=False)
def command(kind: str, name: str | None) -> None:
    """Explain the options of a part, or the keys of a section of the spec.

    A part, by its KIND and NAME: amago explain backbone gru

    A section, in place of KIND: amago explain training
    """
    catalog = installed()
    if name is None:
        click.echo(_section(catalog, kind))
    else:
        click.echo(_explanation(catalog, catalog.find(kind, name)))


def _section(catalog: Catalog, key: str) -> str:
    """Return the keys of a section such as ``training`` or ``training.stop``.

    Raises:
        CatalogError: If there is no such section.
    """
    sections = dict(_sections(RunSpec, ""))
    if key in sections:
        return f"{key}: {sections[key].__doc__}\n\n{_options(sections[key], see=f'see {key}.{{}}')}"
    if key in KINDS:
        names = ", ".join(catalog.short_name(entry) for entry in catalog.entries(key))
        raise CatalogError(f"which {key}? Write `amago explain {key} NAME`, with one of: {names}.")
    kinds = [entry.kind for entry in catalog.entries() if key in (entry.component.name, entry.name)]
    if kinds:
        asked = " or ".join(f"`amago explain {kind} {key}`" for kind in dict.fromkeys(kinds))
        raise CatalogError(f"'{key}' is a part: write {asked}.")
    for kind in KINDS:
        if key in catalog.not_installed(kind):
            catalog.find(kind, key)  # Raises what to install.
    raise CatalogError(
        f"'{key}' is neither a section of the spec nor a kind of part."
        f"{did_you_mean(key, [*sections, *KINDS])} Sections: {', '.join(sections)}. "
        f"Kinds: {', '.join(KINDS)}."
    )


def _sections(options: type[Options], prefix: str) -> Iterator[tuple[str, type[Options]]]:
    """Yield every section below a model, by its key in the spec."""
    for name, field in options.model_fields.items():
        if _is_section(field.annotation):
            key = f"{prefix}{field.alias or name}"
            yield key, field.annotation
            yield from _sections(field.annotation, f"{key}.")


def _is_section(annotation: Any) -> TypeGuard[type[Options]]:
    return isinstance(annotation, type) and issubclass(annotation, Options)


def _explanation(catalog: Catalog, entry: Entry) -> str:
    component = entry.component
    facts = [
        ("plugin", entry.plugin),
        ("target", component.target),
    ]
    return "\n\n".join(
        [
            f"{entry.kind} {entry.name}: {component.summary}",
            table(facts, indent="  "),
            _options(component.options),
            *_nested(component.options),
            f"In a spec:\n{_snippet(entry, catalog.short_name(entry))}",
        ]
    )


def _options(
    options: type[Options], *, see: str = "see below", prefix: str = "", given: Defaults = _NONE
) -> str:
    """Return a table of options.

    Args:
        options: Model of the options.
        see: Text in place of the default of a section; ``{}`` is its key.
        prefix: Prefix of the keys.
        given: Defaults that the parent sets for this section; see :func:`_fields`.
    """
    rows = []
    for key, field, value in _fields(options, given):
        words, default = type_words(field), _shown(value)
        if (model := _model(field.annotation)) is not None:
            words = words.replace(model.__name__, "section")
            default = see.format(key) if isinstance(value, Mapping) else default
        rows.append((f"{prefix}{key}", words, default, (field.description or "").replace("``", "`")))
    if not rows:
        return "It has no options."
    return table(rows, header=("option", "type", "default", "description"))


def _nested(options: type[Options], prefix: str = "", given: Defaults = _NONE) -> Iterator[str]:
    """Yield a summary and a table of options for each section inside a part's options."""
    for key, field, value in _fields(options, given):
        if (model := _model(field.annotation)) is not None:
            path, inner = f"{prefix}{key}", value if isinstance(value, Mapping) else _NONE
            summary = cleandoc(model.__doc__ or field.description or "").partition("\n\n")[0]
            yield f"{path}: {' '.join(summary.split())}"
            yield _options(model, prefix=f"{path}.", given=inner)
            yield from _nested(model, f"{path}.", inner)


def _snippet(entry: Entry, short: str) -> str:
    """Return YAML that chooses the part, with its options at their defaults."""
    keys = _KEYS[entry.kind].split(".")
    above = [f"{_INDENT * depth}{key}:" for depth, key in enumerate(keys, start=1)]
    body = _INDENT * (len(keys) + 1)
    if entry.kind == "tracker":
        first, body = f"{body}- use: {short}", body + _INDENT
    else:
        first = f"{body}use: {short}"
    return "\n".join([*above, first, *_lines(entry.component.options, body)])


def _lines(options: type[Options], indent: str, given: Defaults = _NONE) -> Iterator[str]:
    """Yield the YAML of options at their defaults."""
    for key, field, value in _fields(options, given):
        model = _model(field.annotation)
        if model is not None and model.model_fields and isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _lines(model, indent + _INDENT, value)
        else:
            yield f"{indent}{key}: {'...' if value is PydanticUndefined else _shown(value)}"


def _fields(options: type[Options], given: Defaults) -> Iterator[tuple[str, FieldInfo, Any]]:
    """Yield the key, the field and the default of every option; ``PydanticUndefined`` if required.

    Defaults that the parent sets for the whole section, ``given``, take precedence.
    """
    for name, field in options.model_fields.items():
        key = field.alias or name
        value = given[key] if key in given else field.get_default(call_default_factory=True)
        yield key, field, value.model_dump(by_alias=True) if isinstance(value, Options) else value


def _model(annotation: Any) -> type[Options] | None:
    """Return the model of a section, of one that may be null, or of a list of them."""
    if _is_section(annotation):
        return annotation
    if get_origin(annotation) is dict:
        return None  # The keys of a mapping are not options.
    return next((model for model in map(_model, get_args(annotation)) if model is not None), None)


def _shown(value: Any) -> str:
    """Return a default as YAML shows it, or ``required``."""
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, str):
        return value if value else '""'
    return json.dumps(value, default=str)

"""``amago explain``: one part, its options and how a spec names it; or one section of the spec."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeGuard

import click
from pydantic.fields import FieldInfo

from amago_core.spec.describing import type_words
from amago_core.spec.schema import RunSpec
from amago_core.tables import table
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
    "tracker": "trackers",
}
"""Where a spec names a part of each kind."""

_INDENT = "  "


@click.command("explain")
@click.argument("kind")
@click.argument("name", required=False)
def command(kind: str, name: str | None) -> None:
    """Explain the part NAME of a KIND and its options.

    For example: amago explain backbone gru

    Without NAME, explain the keys of a section of the spec: amago explain training
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
        return f"{key}: {sections[key].__doc__}\n\n{_options(sections[key], key)}"
    if key in KINDS:
        names = ", ".join(catalog.short_name(entry) for entry in catalog.entries(key))
        raise CatalogError(f"which {key}? Write `amago explain {key} NAME`, with one of: {names}.")
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
            f"In a spec:\n{_snippet(entry, catalog.short_name(entry))}",
        ]
    )


def _options(options: type[Options], key: str = "") -> str:
    rows = []
    for name, field in options.model_fields.items():
        own = field.alias or name
        words = "section" if _is_section(field.annotation) else type_words(field)
        default = f"see {key}.{own}" if words == "section" else _default(field)
        rows.append((own, words, default, field.description or ""))
    if not rows:
        return "It has no options."
    return table(rows, header=("option", "type", "default", "consequence"))


def _snippet(entry: Entry, short: str) -> str:
    """Return YAML that chooses the part, with its options at their defaults."""
    options = [
        f"{field.alias or name}: {'...' if field.is_required() else _default(field)}"
        for name, field in entry.component.options.model_fields.items()
    ]
    keys = _KEYS[entry.kind].split(".")
    above = [f"{_INDENT * depth}{key}:" for depth, key in enumerate(keys, start=1)]
    body = _INDENT * (len(keys) + 1)
    if entry.kind == "tracker":
        first, body = f"{body}- use: {short}", body + _INDENT
    else:
        first = f"{body}use: {short}"
    return "\n".join([*above, first, *(body + option for option in options)])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "none: must be given"
    return _shown(field.get_default(call_default_factory=True))


def _shown(value: Any) -> str:
    """Return a default as a spec writes it."""
    if isinstance(value, str):
        return value if value else '""'
    return json.dumps(value, default=str)

"""``amago explain``: one part, its options and how a spec names it."""

from __future__ import annotations

import json
from typing import Any

import click
from pydantic.fields import FieldInfo

from amago_core.spec.describing import type_words
from amago_core.tables import table
from amago_registry.catalog import Catalog, Entry, installed
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
@click.argument("name")
def command(kind: str, name: str) -> None:
    """Explain the part NAME of a KIND and its options.

    For example: amago explain backbone gru
    """
    catalog = installed()
    click.echo(_explanation(catalog, catalog.find(kind, name)))


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


def _options(options: type[Options]) -> str:
    rows = [
        (field.alias or name, type_words(field), _default(field), field.description or "")
        for name, field in options.model_fields.items()
    ]
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

"""Diff of two specs, and the list of a spec's parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from amago_core.spec.schema import RunSpec
from amago_core.spec.yaml_files import dump_spec
from amago_registry.options import Part

_ABSENT = "nothing"


def parts_of(spec: RunSpec) -> Iterator[Part[Any]]:
    """Yield every part of a spec, nested ones included."""
    return _parts(spec)


def differences(before: RunSpec, after: RunSpec) -> list[str]:
    """Return a line ``key: before -> after`` for every key in which two specs differ."""
    old, new = dict(_flat(dump_spec(before), ())), dict(_flat(dump_spec(after), ()))
    keys = [*old, *(key for key in new if key not in old)]
    return [
        f"{key}: {old.get(key, _ABSENT)} -> {new.get(key, _ABSENT)}"
        for key in keys
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]


def _parts(node: Any) -> Iterator[Part[Any]]:
    if isinstance(node, Part):
        yield node
        yield from _parts(node.options)
    elif isinstance(node, BaseModel):
        for name in type(node).model_fields:
            yield from _parts(getattr(node, name))
    elif isinstance(node, tuple | list):
        for item in node:
            yield from _parts(item)


def _flat(node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _flat(value, (*path, str(key)))
    else:
        yield ".".join(path), node

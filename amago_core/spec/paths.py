"""Paths: key sequences into nested mappings and lists, and lookup by path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from omegaconf import OmegaConf

Path: TypeAlias = tuple[str | int, ...]
"""Keys from the top of a spec to one value."""


def plain(config: Any) -> dict[str, Any]:
    """Return an OmegaConf node as plain containers, interpolations as they were written."""
    container: dict[str, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    return container


def follow(node: Any, path: Path, missing: Any = None) -> Any:
    """Return the value at ``path``, or the scalar that ends it early; ``missing`` otherwise."""
    for key in path:
        if isinstance(node, Mapping):
            node = node.get(key, node.get(str(key), missing))
        elif isinstance(node, list | tuple):
            node = node[int(key)] if str(key).isdigit() and int(key) < len(node) else missing
        if node is missing:
            return missing
    return node


def is_interpolation(value: object) -> bool:
    """Return whether a value refers to another key, as in ``${key.path}``."""
    return isinstance(value, str) and "${" in value

"""Renamed spec keys: the old name is read for one more version, and logged once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from amago_core.spec.merge import Layer
from amago_core.spec.paths import Path, follow
from amago_core.spec.schema import RunSpec
from amago_core.spec.schema_tree import SchemaNode
from amago_registry.catalog import Catalog

_log = logging.getLogger(__name__)
_logged: set[str] = set()


def with_new_names(
    layer: Layer, below: Mapping[str, Any], catalog: Catalog
) -> tuple[Layer, dict[str, str]]:
    """Return a layer in which every renamed key has its new name, and which keys those are.

    A key whose new name is written beside it stays, to be reported as unknown.

    Args:
        layer: What one source says.
        below: The layers before it, which may choose the part that an option is of.
        catalog: Where parts are found.
    """
    found: dict[Path, str] = dict(_renamed(SchemaNode(RunSpec), layer.says, below, catalog, ()))
    if not found:
        return layer, {}
    says, path = _rename(layer.says, found, ()), list(layer.path)
    for end in range(len(path)):
        path[end] = found.get(layer.path[: end + 1], path[end])
    told = {_dotted(old): _dotted((*old[:-1], new)) for old, new in found.items()}
    return replace(layer, says=says, path=tuple(path)), told


def log_once(title: str, renamed: Mapping[str, str]) -> None:
    """Log each renamed key that a spec uses, the first time that any spec of this process does."""
    for old, new in renamed.items():
        if old not in _logged:
            _logged.add(old)
            _log.warning(
                "%s: %s is called %s now; the old name is read for one more version.", title, old, new
            )


def _renamed(
    node: SchemaNode, says: Any, below: Any, catalog: Catalog, path: Path
) -> Iterator[tuple[Path, str]]:
    """Yield the path of every old key, and its new name."""
    if isinstance(says, list | tuple):
        for index, item in enumerate(says):
            yield from _renamed(node.items or node, item, None, catalog, (*path, index))
        return
    if not isinstance(says, Mapping):
        return
    chosen = {"use": node.use(says if "use" in says else below)} if node.kind else says
    model = node.model(chosen, catalog)
    old: Mapping[str, str] = {} if model is None else model.renamed_keys
    for key, value in says.items():
        name = str(old.get(key, key))
        if name != key and name not in says:
            yield (*path, key), name
        child = node.below(name, chosen, catalog)
        if child is not None:
            yield from _renamed(child, value, follow(below, (name,)), catalog, (*path, key))


def _rename(says: Any, found: Mapping[Path, str], path: Path) -> Any:
    if isinstance(says, Mapping):
        return {
            found.get((*path, key), key): _rename(value, found, (*path, key))
            for key, value in says.items()
        }
    if isinstance(says, list | tuple):
        return [_rename(value, found, (*path, index)) for index, value in enumerate(says)]
    return says


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))

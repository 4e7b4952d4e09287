"""Merging the layers of a spec: the defaults, the file, then each override on top.

A layer that chooses another part drops the options that earlier layers set for the old one: a GRU does
not have the options of a Transformer. A layer that chooses the same part keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_core.spec.paths import Path, follow, is_interpolation, plain
from amago_core.spec.problems import Problem, show
from amago_core.spec.schema import RunSpec
from amago_core.spec.schema_tree import SchemaNode, schema_nodes
from amago_registry.catalog import Catalog
from amago_registry.errors import CatalogError
from amago_registry.options import Options

TASKS = "tasks"
"""The option of a mixture that lists its environments."""


@dataclass(frozen=True)
class Layer:
    """Keys and values from one source: the defaults, the file or an override.

    Args:
        origin: The source, for messages; empty for the file, which every message names anyway.
        says: The keys and values, as nested mappings.
        path: The key that an override sets; empty for a whole file.
        listed: Paths at which a list was replaced by a mixture; see
            :mod:`amago_core.spec.environment_lists`.
    """

    origin: str
    says: dict[str, Any]
    path: tuple[str, ...] = ()
    listed: tuple[Path, ...] = ()

    @property
    def value(self) -> Any:
        """The value at ``path``."""
        return follow(self.says, self.path)

    def as_written(self, path: Path) -> Path:
        """Return a path as this layer wrote it: without ``tasks`` where it wrote a list."""
        for parent in self.listed:
            if path[: len(parent) + 1] == (*parent, TASKS):
                return (*parent, *path[len(parent) + 1 :])
        return path


def defaults(name: str) -> Layer:
    """Return the lowest layer: all defaults of the schema, with ``name`` as the run's default name."""
    return Layer("a default", {**_defaults(RunSpec), "name": name})


def _defaults(model: type[Options]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, node in schema_nodes(model).items():
        if node.section is not None:
            values[key] = _defaults(node.section)
        elif node.kind is not None and node.default is not None:
            values[key] = {"use": node.default}
        else:
            values[key] = list(node.default) if isinstance(node.default, tuple) else node.default
    return values


def merge(
    below: dict[str, Any], layer: Layer, catalog: Catalog
) -> tuple[dict[str, Any], list[Problem]]:
    """Return ``below`` with ``layer`` merged on top, and the problems of values left out of it."""
    says, problems = _without_misfits(RunSpec, layer, catalog)
    if layer.path and follow(says, layer.path, missing=_MISSING) is _MISSING:
        return below, problems
    below = copy_references(below, layer.path)
    kept, says = _resolve_parts(SchemaNode(RunSpec), below, says, catalog)
    config = OmegaConf.create(kept)
    try:
        _write(config, layer.path, says)
    except (ValueError, IndexError):
        return below, [Problem(layer.as_written(layer.path), _NO_ITEM, layer.origin)]
    except (OmegaConfBaseException, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        text = f"cannot be set to {show(layer.value)}: {reason}"
        return below, [Problem(layer.as_written(layer.path), text, layer.origin)]
    return plain(config), problems


_MISSING = object()

_NO_ITEM = "there is no such item; items of a list are numbered from 0, or set the whole list"


def _write(config: Any, path: tuple[str, ...], says: dict[str, Any]) -> None:
    if path:
        OmegaConf.update(config, ".".join(path), follow(says, path), merge=True, force_add=True)
    else:
        config.merge_with(says)


def _list_problem(kind: str, catalog: Catalog) -> str:
    """Return the problem of a list where the schema has one part, and what to write instead."""
    rows = [
        f"{{use: {catalog.short_name(entry)}, {option}: [...]}}"
        for entry in catalog.entries(kind)
        for option, node in schema_nodes(entry.component.options).items()
        if node.items is not None and node.items.kind == kind
    ]
    several = f"; for several write {' or '.join(rows)}" if rows else ""
    return (
        f"a list, where one {kind} belongs: write its name, or {{use: NAME, ...}} with options{several}"
    )


def _without_misfits(
    model: type[Options], layer: Layer, catalog: Catalog
) -> tuple[dict[str, Any], list[Problem]]:
    """Remove sections that are not mappings and lists in place of a part, and return their problems.

    They are reported here, because a later layer would overwrite them silently. A section without
    content, null in YAML, is left out.
    """
    problems: list[Problem] = []

    def keep(model: type[Options], says: Mapping[str, Any], path: Path) -> dict[str, Any]:
        kept = dict(says)
        for key, node in schema_nodes(model).items():
            value = says.get(key)
            if node.kind is not None and isinstance(value, list | tuple):
                del kept[key]
                problems.append(Problem((*path, key), _list_problem(node.kind, catalog), layer.origin))
                continue
            if node.section is None or key not in says or is_interpolation(value):
                continue
            if isinstance(value, Mapping):
                kept[key] = keep(node.section, value, (*path, key))
                continue
            del kept[key]
            if value is not None:
                text = f"{show(value)} is not a mapping"
                problems.append(Problem((*path, key), text, layer.origin))
        return kept

    return keep(model, layer.says, ()), problems


def copy_references(below: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Replace interpolations above ``path`` by copies, so that setting it leaves the original alone."""
    for end in range(1, len(path)):
        value = follow(below, path[:end])
        if is_interpolation(value):
            config = OmegaConf.create(below)
            key = ".".join(path[:end])
            OmegaConf.update(config, key, OmegaConf.select(config, key), merge=False)
            return plain(config)
    return below


def _resolve_parts(node: SchemaNode | None, below: Any, says: Any, catalog: Catalog) -> tuple[Any, Any]:
    """Drop options of replaced parts from ``below``, and write every part in ``says`` as a mapping."""
    if node is None or is_interpolation(says) or is_interpolation(below):
        return below, says
    if node.kind is not None:
        return _resolve_part(node, below, says, catalog)
    if not isinstance(says, Mapping):
        return below, says
    if node.items is not None and isinstance(below, list):
        return _resolve_items(node.items, below, says, catalog)
    if node.section is not None:
        kept = below if isinstance(below, Mapping) else {}
        return _resolve_keys(node, kept, says, catalog)
    return below, says


def _resolve_part(node: SchemaNode, below: Any, says: Any, catalog: Catalog) -> tuple[Any, Any]:
    says = {"use": says} if isinstance(says, str) else says
    if not isinstance(says, Mapping):
        return below, says
    before = node.use(below)
    after = says.get("use", before)
    kept = {"use": below} if isinstance(below, str) else below
    kept = kept if isinstance(kept, Mapping) and _same(node, before, after, catalog) else {}
    kept = kept if after is None else {**kept, "use": after}
    return _resolve_keys(node, kept, says, catalog)


def _resolve_keys(
    node: SchemaNode, below: Mapping[str, Any], says: Mapping[str, Any], catalog: Catalog
) -> tuple[dict[str, Any], dict[str, Any]]:
    kept, resolved = dict(below), dict(says)
    for key in says:
        child = node.below(key, below, catalog)
        remaining, resolved[key] = _resolve_parts(child, below.get(key), says[key], catalog)
        if key in below or remaining is not None:
            kept[key] = remaining
    return kept, resolved


def _resolve_items(
    item: SchemaNode, below: list[Any], says: Mapping[str, Any], catalog: Catalog
) -> tuple[list[Any], dict[str, Any]]:
    kept, resolved = list(below), dict(says)
    for key in says:
        if str(key).isdigit() and int(key) < len(below):
            kept[int(key)], resolved[key] = _resolve_parts(item, below[int(key)], says[key], catalog)
    return kept, resolved


def _same(node: SchemaNode, before: Any, after: Any, catalog: Catalog) -> bool:
    """Return whether two names choose the same part, as ``gru`` and ``standard/gru`` do."""
    return bool(before == after) or _full_name(node, before, catalog) == _full_name(
        node, after, catalog
    )


def _full_name(node: SchemaNode, use: Any, catalog: Catalog) -> Any:
    try:
        return catalog.find(str(node.kind), use).name if isinstance(use, str) else use
    except CatalogError:
        return use

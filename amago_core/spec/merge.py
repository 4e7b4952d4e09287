"""Layers of a spec: the defaults, the file, then each override, merged one onto the other.

A layer that chooses another part drops what earlier layers said of that part: options of a Transformer
mean nothing to a GRU. Choosing the same part merges.
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
    """What one source says.

    Args:
        origin: Where it was written, for messages; empty for the file, which every message names.
        says: Nested mappings of what is written.
        path: The one place an override sets; empty where the layer is a whole file.
        listed: Places where it wrote a list that stands for a mixture; see
            :mod:`amago_core.spec.environment_lists`.
    """

    origin: str
    says: dict[str, Any]
    path: tuple[str, ...] = ()
    listed: tuple[Path, ...] = ()

    @property
    def value(self) -> Any:
        """What is written at ``path``."""
        return follow(self.says, self.path)

    def as_written(self, path: Path) -> Path:
        """Return a path as this layer wrote it: without the key that a list stands for."""
        for place in self.listed:
            if path[: len(place) + 1] == (*place, TASKS):
                return (*place, *path[len(place) + 1 :])
        return path


def defaults(name: str) -> Layer:
    """Return the layer below all others, for a run that is called ``name`` if nothing else is said."""
    return Layer("a default", {**_defaults(RunSpec), "name": name})


def _defaults(model: type[Options]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for key, place in schema_nodes(model).items():
        if place.section is not None:
            layer[key] = _defaults(place.section)
        elif place.kind is not None and place.default is not None:
            layer[key] = {"use": place.default}
        else:
            layer[key] = list(place.default) if isinstance(place.default, tuple) else place.default
    return layer


def merge(
    below: dict[str, Any], layer: Layer, catalog: Catalog
) -> tuple[dict[str, Any], list[Problem]]:
    """Return ``below`` with what ``layer`` says on top, without what makes no sense there."""
    says, misfits = _fitting(RunSpec, layer, catalog)
    if layer.path and follow(says, layer.path, missing=_NOTHING) is _NOTHING:
        return below, misfits
    below = own_copies(below, layer.path)
    kept, said = _resolve_parts(SchemaNode(RunSpec), below, says, catalog)
    config = OmegaConf.create(kept)
    try:
        _write(config, layer.path, said)
    except (ValueError, IndexError):
        return below, [Problem(layer.as_written(layer.path), _NO_ITEM, layer.origin)]
    except (OmegaConfBaseException, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        text = f"cannot be set to {show(layer.value)}: {reason}"
        return below, [Problem(layer.as_written(layer.path), text, layer.origin)]
    return plain(config), misfits


_NOTHING = object()

_NO_ITEM = "there is no such item; items of a list are numbered from 0, or set the whole list"


def _write(config: Any, path: tuple[str, ...], said: dict[str, Any]) -> None:
    if path:
        OmegaConf.update(config, ".".join(path), follow(said, path), merge=True, force_add=True)
    else:
        config.merge_with(said)


def _one_part(kind: str, catalog: Catalog) -> str:
    """Return what to write where a list stands in the place of a part."""
    rows = [
        f"{{use: {catalog.short_name(entry)}, {option}: [...]}}"
        for entry in catalog.entries(kind)
        for option, place in schema_nodes(entry.component.options).items()
        if place.items is not None and place.items.kind == kind
    ]
    several = f"; for several write {' or '.join(rows)}" if rows else ""
    return (
        f"a list, where one {kind} belongs: write its name, or {{use: NAME, ...}} with options{several}"
    )


def _fitting(
    model: type[Options], layer: Layer, catalog: Catalog
) -> tuple[dict[str, Any], list[Problem]]:
    """Take out sections that are no mappings, and lists of parts: a later layer would reap them unseen.

    A section without content, null in YAML, says nothing.
    """
    problems: list[Problem] = []

    def fitting(model: type[Options], says: Mapping[str, Any], path: Path) -> dict[str, Any]:
        kept = dict(says)
        for key, place in schema_nodes(model).items():
            value = says.get(key)
            if place.kind is not None and isinstance(value, list | tuple):
                del kept[key]
                problems.append(Problem((*path, key), _one_part(place.kind, catalog), layer.origin))
                continue
            if place.section is None or key not in says or is_interpolation(value):
                continue
            if isinstance(value, Mapping):
                kept[key] = fitting(place.section, value, (*path, key))
                continue
            del kept[key]
            if value is not None:
                text = f"{show(value)} is not a mapping"
                problems.append(Problem((*path, key), text, layer.origin))
        return kept

    return fitting(model, layer.says, ()), problems


def own_copies(below: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Resolve interpolations above ``path``, or setting it would write to what they point at."""
    for end in range(1, len(path)):
        value = follow(below, path[:end])
        if is_interpolation(value):
            config = OmegaConf.create(below)
            key = ".".join(path[:end])
            OmegaConf.update(config, key, OmegaConf.select(config, key), merge=False)
            return plain(config)
    return below


def _resolve_parts(
    place: SchemaNode | None, below: Any, says: Any, catalog: Catalog
) -> tuple[Any, Any]:
    """Return what remains of ``below``, and ``says`` with every part written as a mapping."""
    if place is None or is_interpolation(says) or is_interpolation(below):
        return below, says
    if place.kind is not None:
        return _settle_part(place, below, says, catalog)
    if not isinstance(says, Mapping):
        return below, says
    if place.items is not None and isinstance(below, list):
        return _settle_items(place.items, below, says, catalog)
    if place.section is not None:
        kept = below if isinstance(below, Mapping) else {}
        return _settle_keys(place, kept, says, catalog)
    return below, says


def _settle_part(place: SchemaNode, below: Any, says: Any, catalog: Catalog) -> tuple[Any, Any]:
    says = {"use": says} if isinstance(says, str) else says
    if not isinstance(says, Mapping):
        return below, says
    before = place.use(below)
    after = says.get("use", before)
    kept = {"use": below} if isinstance(below, str) else below
    kept = kept if isinstance(kept, Mapping) and _same(place, before, after, catalog) else {}
    kept = kept if after is None else {**kept, "use": after}
    return _settle_keys(place, kept, says, catalog)


def _settle_keys(
    place: SchemaNode, below: Mapping[str, Any], says: Mapping[str, Any], catalog: Catalog
) -> tuple[dict[str, Any], dict[str, Any]]:
    kept, said = dict(below), dict(says)
    for key in says:
        child = place.below(key, below, catalog)
        remains, said[key] = _resolve_parts(child, below.get(key), says[key], catalog)
        if key in below or remains is not None:
            kept[key] = remains
    return kept, said


def _settle_items(
    item: SchemaNode, below: list[Any], says: Mapping[str, Any], catalog: Catalog
) -> tuple[list[Any], dict[str, Any]]:
    kept, said = list(below), dict(says)
    for key in says:
        if str(key).isdigit() and int(key) < len(below):
            kept[int(key)], said[key] = _resolve_parts(item, below[int(key)], says[key], catalog)
    return kept, said


def _same(place: SchemaNode, before: Any, after: Any, catalog: Catalog) -> bool:
    """``gru`` and ``standard/gru`` are the same part."""
    return bool(before == after) or _full(place, before, catalog) == _full(place, after, catalog)


def _full(place: SchemaNode, use: Any, catalog: Catalog) -> Any:
    try:
        return catalog.find(str(place.kind), use).name if isinstance(use, str) else use
    except CatalogError:
        return use

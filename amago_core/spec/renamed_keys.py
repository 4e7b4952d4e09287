"""Renamed spec keys: the old name still works for one more version, and is logged once."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from amago_core.spec.merge import Layer
from amago_core.spec.paths import Path, follow
from amago_core.spec.problems import Problem
from amago_core.spec.schema import RunSpec
from amago_core.spec.schema_tree import SchemaNode, schema_nodes
from amago_registry.catalog import Catalog
from amago_registry.options import Options

_log = logging.getLogger(__name__)
_logged: set[str] = set()
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def with_new_names(
    layer: Layer, below: Mapping[str, Any], catalog: Catalog, earlier: Mapping[str, str]
) -> tuple[Layer, dict[str, str], list[Problem]]:
    """Return a layer with old keys replaced by new ones, in interpolations too.

    Args:
        layer: The layer as it was written.
        below: The merged earlier layers, which may choose the part that an option belongs to.
        catalog: Where parts are looked up.
        earlier: The keys that were replaced in earlier layers, which this one may refer to.

    Returns:
        The layer; the replaced keys, old path to new path; a problem for each old key that stands
        beside its new name, which is left out.
    """
    found: dict[Path, str] = dict(_renamed(SchemaNode(RunSpec), layer.says, below, catalog, ()))
    renamed = {_dotted(old): _dotted((*old[:-1], new)) for old, new in found.items()}
    twice = [old for old, new in found.items() if new in follow(layer.says, old[:-1])]
    problems = [
        Problem(old, f"is the old name of {found[old]}, which is set too: leave it out", layer.origin)
        for old in twice
    ]
    path = tuple(found.get(layer.path[: end + 1], key) for end, key in enumerate(layer.path))
    aliases = {**_old_section_keys(RunSpec, ""), **earlier, **renamed}
    says = _rename(layer.says, found, aliases, ())
    for old in twice:
        del renamed[_dotted(old)]
    return replace(layer, says=says, path=path), renamed, problems


def log_once(origin: str, old: str, new: str) -> None:
    """Log an old key, once per process, with the spec or the override that uses it."""
    if old not in _logged:
        _logged.add(old)
        _log.warning(
            "%s: %s is called %s now; the old name still works for one more version.", origin, old, new
        )


def _renamed(
    node: SchemaNode, says: Any, below: Any, catalog: Catalog, path: Path
) -> Iterator[tuple[Path, str]]:
    """Yield the path of every old key in ``says``, and its new name."""
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
        if name != key:
            yield (*path, key), name
        child = node.below(name, chosen, catalog)
        if child is not None:
            yield from _renamed(child, value, follow(below, (name,)), catalog, (*path, key))


def _old_section_keys(model: type[Options], prefix: str) -> dict[str, str]:
    """Return the old path of every renamed key of the schema's sections, and its new path."""
    found = {f"{prefix}{old}": f"{prefix}{new}" for old, new in model.renamed_keys.items()}
    for key, node in schema_nodes(model).items():
        if node.section is not None:
            found |= _old_section_keys(node.section, f"{prefix}{key}.")
    return found


def _rename(says: Any, found: Mapping[Path, str], aliases: Mapping[str, str], path: Path) -> Any:
    """Replace old keys and references to them; of a key and its old name, keep the key's value."""
    if isinstance(says, Mapping):
        return {
            found.get((*path, key), key): _rename(value, found, aliases, (*path, key))
            for key, value in says.items()
            if found.get((*path, key)) not in says
        }
    if isinstance(says, list | tuple):
        return [_rename(value, found, aliases, (*path, index)) for index, value in enumerate(says)]
    if isinstance(says, str) and "${" in says:
        return _REFERENCE.sub(lambda match: _new_reference(match[1], aliases), says)
    return says


def _new_reference(key: str, aliases: Mapping[str, str]) -> str:
    for old, new in aliases.items():
        if key == old or key.startswith(f"{old}."):
            return f"${{{new}{key.removeprefix(old)}}}"
    return f"${{{key}}}"


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))

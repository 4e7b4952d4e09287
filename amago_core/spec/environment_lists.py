"""Lists of environments in a spec: shorthand for the environment ``mixture``.

``environment: [t-maze, bandit]`` is ``environment: {use: mixture, tasks: [t-maze, bandit]}``, and
``environment.0.length=4`` is ``environment.tasks.0.length=4``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from amago_core.spec.merge import TASKS, Layer, copy_references
from amago_core.spec.paths import Path, follow
from amago_core.spec.problems import Problem
from amago_core.spec.schema import RunSpec
from amago_core.spec.schema_tree import SchemaNode, schema_nodes
from amago_registry.catalog import Catalog
from amago_registry.errors import CatalogError

_KIND, _MIXTURE = "environment", "mixture"


def expand_environment_list(
    layer: Layer, below: dict[str, Any], catalog: Catalog
) -> tuple[Layer, list[Problem]]:
    """Return a layer in which every list of environments is replaced by a mixture.

    Args:
        layer: The layer as it was written.
        below: The merged earlier layers, whose mixtures an override may index.
        catalog: Where the mixture is looked up.

    Returns:
        The layer, and a problem for each list if no mixture is installed.
    """
    problems = []
    for path in _environment_paths(SchemaNode(RunSpec)):
        written = follow(layer.says, path)
        if isinstance(written, list | tuple):
            try:
                catalog.find(_KIND, _MIXTURE)
            except CatalogError as error:
                text = f"a list of environments is a mixture of them: {error}"
                problems.append(Problem(path, text, layer.origin))
                layer = replace(layer, says=_without(layer.says, path))
                continue
            layer = _with_mixture(layer, path, {"use": _MIXTURE, TASKS: list(written)})
        elif _has_indices(written) and _is_mixture(
            follow(copy_references(below, layer.path), path), catalog
        ):
            layer = _with_mixture(layer, path, {TASKS: written})
    return layer, problems


def _environment_paths(node: SchemaNode) -> Iterator[Path]:
    """Yield the paths at which the schema has an environment."""
    for key, child in schema_nodes(node.section).items() if node.section is not None else ():
        if child.kind == _KIND:
            yield (key,)
        for path in _environment_paths(child):
            yield (key, *path)


def _has_indices(written: Any) -> bool:
    """Return whether all keys are list indices, as in an override of one item."""
    return isinstance(written, Mapping) and bool(written) and all(str(key).isdigit() for key in written)


def _is_mixture(part: Any, catalog: Catalog) -> bool:
    named = part.get("use") if isinstance(part, Mapping) else part
    if not isinstance(named, str):
        return False
    try:
        return catalog.find(_KIND, named) is catalog.find(_KIND, _MIXTURE)
    except CatalogError:
        return False


def _with_mixture(layer: Layer, path: Path, value: dict[str, Any]) -> Layer:
    """Return a layer that writes ``value`` at ``path``, and has an override of an item go to TASKS."""
    target, depth = layer.path, len(path)
    if target[:depth] == path and len(target) > depth:
        target = (*target[:depth], TASKS, *target[depth:])
    says = _with(layer.says, path, value)
    return replace(layer, says=says, path=target, listed=(*layer.listed, path))


def _with(says: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    key, *rest = path
    inner = _with(says[str(key)], tuple(rest), value) if rest else value
    return {**says, str(key): inner}


def _without(says: Mapping[str, Any], path: Path) -> dict[str, Any]:
    key, *rest = path
    if rest:
        return {**says, str(key): _without(says[str(key)], tuple(rest))}
    return {other: value for other, value in says.items() if other != key}

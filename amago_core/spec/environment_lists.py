"""A list where one environment belongs stands for a mixture of those it lists.

``environment: [t-maze, bandit]`` is ``environment: {use: mixture, tasks: [t-maze, bandit]}``, and
``environment.0.length=4`` is ``environment.tasks.0.length=4``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from amago_core.spec.merge import TASKS, Layer, own_copies
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
    """Return what a layer says with every list of environments written as a mixture.

    Args:
        layer: As it was written.
        below: What earlier layers say.
        catalog: Where the mixture is found.

    Returns:
        The layer, and a problem for each list if there is no mixture.
    """
    problems = []
    for place in _environments(SchemaNode(RunSpec)):
        said = follow(layer.says, place)
        if isinstance(said, list | tuple):
            try:
                catalog.find(_KIND, _MIXTURE)
            except CatalogError as error:
                text = f"a list of environments is a mixture of them: {error}"
                problems.append(Problem(place, text, layer.origin))
                layer = replace(layer, says=_without(layer.says, place))
                continue
            layer = _rewritten(layer, place, {"use": _MIXTURE, TASKS: list(said)})
        elif _counts(said) and _is_mixture(follow(own_copies(below, layer.path), place), catalog):
            layer = _rewritten(layer, place, {TASKS: said})
    return layer, problems


def _environments(place: SchemaNode) -> Iterator[Path]:
    """Yield the paths at which the schema wants an environment."""
    for key, child in schema_nodes(place.section).items() if place.section is not None else ():
        if child.kind == _KIND:
            yield (key,)
        for path in _environments(child):
            yield (key, *path)


def _counts(said: Any) -> bool:
    """Say whether keys are indices of a list: what an override of one item looks like."""
    return isinstance(said, Mapping) and bool(said) and all(str(key).isdigit() for key in said)


def _is_mixture(part: Any, catalog: Catalog) -> bool:
    named = part.get("use") if isinstance(part, Mapping) else part
    if not isinstance(named, str):
        return False
    try:
        return catalog.find(_KIND, named) is catalog.find(_KIND, _MIXTURE)
    except CatalogError:
        return False


def _rewritten(layer: Layer, place: Path, value: dict[str, Any]) -> Layer:
    path = layer.path
    if path[: len(place)] == place and len(path) > len(place):
        path = (*path[: len(place)], TASKS, *path[len(place) :])
    says = _with(layer.says, place, value)
    return replace(layer, says=says, path=path, listed=(*layer.listed, place))


def _with(says: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    key, *rest = path
    inner = _with(says[str(key)], tuple(rest), value) if rest else value
    return {**says, str(key): inner}


def _without(says: Mapping[str, Any], path: Path) -> dict[str, Any]:
    key, *rest = path
    if rest:
        return {**says, str(key): _without(says[str(key)], tuple(rest))}
    return {other: value for other, value in says.items() if other != key}

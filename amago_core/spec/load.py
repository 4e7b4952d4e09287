"""From what was written to a validated spec: read, merge, resolve, validate, report everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from amago_core.errors import SpecError
from amago_core.spec.environment_lists import expand_environment_list
from amago_core.spec.interpolation import resolve
from amago_core.spec.merge import Layer, defaults, merge
from amago_core.spec.overrides import parse_override
from amago_core.spec.paths import Path as Keys
from amago_core.spec.paths import follow, plain
from amago_core.spec.problems import Problem, refused_by_omegaconf, report, translate
from amago_core.spec.renamed_keys import log_once, with_new_names
from amago_core.spec.schema import RunSpec
from amago_core.spec.yaml_files import read_file
from amago_registry.catalog import Catalog, installed

_NAME = str(RunSpec.model_fields["name"].default)

_NOTHING = object()


def load_spec(
    source: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    local_environment: bool = False,
    stored: bool = False,
    catalog: Catalog | None = None,
) -> RunSpec:
    """Return the validated spec of a run.

    Args:
        source: A YAML file, or its content as a mapping.
        overrides: ``key.path=value`` each, the value in YAML; later ones win.
        local_environment: Whether the caller supplies the environment, so that the spec need not.
        stored: Whether this is the spec in a run's folder, whose old key names are not worth a word.
        catalog: Where parts are found; by default what is installed.

    Raises:
        SpecError: If the spec cannot be used; the text lists every problem with its key and origin.
    """
    catalog = installed() if catalog is None else catalog
    title, name, first = _first_layer(source)
    layers, written, problems, renamed = _stack([defaults(name), first], overrides, catalog)
    written, unresolved = resolve(written)
    if written.get("name") is None:
        written["name"] = name
    problems += [_with_origin(problem, layers) for problem in unresolved]
    spec, invalid = _validate(written, catalog)
    problems += [_with_origin(problem, layers) for problem in _news(invalid, unresolved)]
    given = local_environment or any(written.get(key) is not None for key in ("environment", "dataset"))
    if not given:
        problems += [] if _about(problems, "environment") else [_no_environment()]
    if spec is None or problems:
        raise SpecError(report(title, problems))
    if not stored:
        log_once(title, renamed)
    return spec


def _first_layer(source: str | Path | Mapping[str, Any]) -> tuple[str, str, Layer]:
    """Return what to call the spec, the run's default name, and what the source says."""
    if isinstance(source, str | Path):
        path = Path(source)
        return f"the spec {path}", path.stem.lstrip(".") or _NAME, Layer("", read_file(path))
    try:
        said = plain(OmegaConf.create(dict(source)))
    except OmegaConfBaseException as error:
        raise SpecError(report("the spec", [refused_by_omegaconf(error)])) from error
    return "the spec", _NAME, Layer("", said)


def _stack(
    layers: list[Layer], overrides: Sequence[str], catalog: Catalog
) -> tuple[list[Layer], dict[str, Any], list[Problem], dict[str, str]]:
    """Merge everything; return the layers, the result, problems met on the way, and renamed keys."""
    problems: list[Problem] = []
    for override in map(parse_override, overrides):
        if isinstance(override, Problem):
            problems.append(override)
        else:
            layers.append(override)
    written: dict[str, Any] = {}
    merged: list[Layer] = []
    renamed: dict[str, str] = {}
    for source in layers:
        layer, keys = with_new_names(source, written, catalog)
        renamed |= keys
        layer, unknown = expand_environment_list(layer, written, catalog)
        written, misfits = merge(written, layer, catalog)
        problems += [*unknown, *misfits]
        merged.append(layer)
    return merged, written, problems, renamed


def _validate(written: dict[str, Any], catalog: Catalog) -> tuple[RunSpec | None, list[Problem]]:
    try:
        return RunSpec.model_validate(written, context={"catalog": catalog}), []
    except ValidationError as error:
        return None, translate(error, written, catalog)


def _news(problems: Sequence[Problem], known: Sequence[Problem]) -> list[Problem]:
    """Leave out what only follows from a value that was already reported."""
    paths = {problem.path for problem in known}
    return [
        problem
        for problem in problems
        if not any(problem.path[:end] in paths for end in range(1, len(problem.path) + 1))
    ]


def _with_origin(problem: Problem, layers: Sequence[Layer]) -> Problem:
    """Add the last layer that wrote the value, and point at the key as that layer wrote it."""
    for layer in reversed(layers):
        depth = _depth(layer.says, problem.path)
        if depth is not None:
            path = problem.path[:-1] if problem.path[depth:] == ("use",) else problem.path
            return Problem(layer.as_written(path), problem.text, layer.origin)
    return problem


def _depth(says: Any, path: Keys) -> int | None:
    """Return how many keys of ``path`` a layer spells out; None if it says nothing about the value."""
    for depth in range(len(path) + 1):
        node = follow(says, path[:depth], missing=_NOTHING)
        if node is _NOTHING:
            return None
        if not isinstance(node, Mapping | list | tuple):
            return depth
    return len(path)


def _about(problems: Sequence[Problem], key: str) -> bool:
    return any(problem.path[:1] == (key,) for problem in problems)


def _no_environment() -> Problem:
    return Problem(
        ("environment",),
        "is missing. Name one, as in 'environment: t-maze'; `amago components environment` lists them",
    )

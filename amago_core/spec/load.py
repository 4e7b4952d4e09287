"""Loading a spec: read, merge overrides, resolve interpolations, validate, report all problems."""

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

_DEFAULT_NAME = str(RunSpec.model_fields["name"].default)

_MISSING = object()


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
        local_environment: Whether the caller passes an environment; the spec then needs none.
        stored: Whether this is the spec in a run's folder; old key names in it are not logged.
        catalog: Where parts are looked up; by default the installed plugins.

    Raises:
        SpecError: If the spec cannot be used; the text lists every problem with its key and origin.
    """
    catalog = installed() if catalog is None else catalog
    title, name, first = _first_layer(source)
    layers, written, problems, renamed = _stack([defaults(name), first], overrides, catalog)
    for old, (new, override) in renamed.items():
        if override or not stored:
            log_once(override or title, old, new)
    written, unresolved = resolve(written)
    if written.get("name") is None:
        written["name"] = name
    problems += [_with_origin(problem, layers) for problem in unresolved]
    spec, invalid = _validate(written, catalog)
    problems += [_with_origin(problem, layers) for problem in _new_problems(invalid, unresolved)]
    given = local_environment or any(written.get(key) is not None for key in ("environment", "dataset"))
    if not given:
        problems += [] if _mention(problems, "environment") else [_no_environment()]
    if spec is None or problems:
        raise SpecError(report(title, problems))
    return spec


def _first_layer(source: str | Path | Mapping[str, Any]) -> tuple[str, str, Layer]:
    """Return the spec's title in messages, the run's default name, and the source's layer."""
    if isinstance(source, str | Path):
        path = Path(source)
        return f"the spec {path}", path.stem.lstrip(".") or _DEFAULT_NAME, Layer("", read_file(path))
    try:
        written = plain(OmegaConf.create(dict(source)))
    except OmegaConfBaseException as error:
        raise SpecError(report("the spec", [refused_by_omegaconf(error)])) from error
    return "the spec", _DEFAULT_NAME, Layer("", written)


def _stack(
    layers: list[Layer], overrides: Sequence[str], catalog: Catalog
) -> tuple[list[Layer], dict[str, Any], list[Problem], dict[str, tuple[str, str]]]:
    """Merge all layers; return them, the merged spec and the problems of merging.

    Last come the renamed keys: for each old key the new one, and the override that used the old one
    (empty: the file).
    """
    problems: list[Problem] = []
    for override in map(parse_override, overrides):
        if isinstance(override, Problem):
            problems.append(override)
        else:
            layers.append(override)
    written: dict[str, Any] = {}
    merged: list[Layer] = []
    renamed: dict[str, tuple[str, str]] = {}
    for source in layers:
        earlier = {old: new for old, (new, _) in renamed.items()}
        layer, keys, twice = with_new_names(source, written, catalog, earlier)
        renamed |= {old: (new, source.origin) for old, new in keys.items()}
        layer, unknown = expand_environment_list(layer, written, catalog)
        written, misfits = merge(written, layer, catalog)
        problems += [*twice, *unknown, *misfits]
        merged.append(layer)
    return merged, written, problems, renamed


def _validate(written: dict[str, Any], catalog: Catalog) -> tuple[RunSpec | None, list[Problem]]:
    try:
        return RunSpec.model_validate(written, context={"catalog": catalog}), []
    except ValidationError as error:
        return None, translate(error, written, catalog)


def _new_problems(problems: Sequence[Problem], known: Sequence[Problem]) -> list[Problem]:
    """Return the problems at values that were not reported before."""
    paths = {problem.path for problem in known}
    return [
        problem
        for problem in problems
        if not any(problem.path[:end] in paths for end in range(1, len(problem.path) + 1))
    ]


def _with_origin(problem: Problem, layers: Sequence[Layer]) -> Problem:
    """Add the last layer that wrote the value, with the key as that layer wrote it."""
    for layer in reversed(layers):
        depth = _written_depth(layer.says, problem.path)
        if depth is not None:
            path = problem.path[:-1] if problem.path[depth:] == ("use",) else problem.path
            return Problem(layer.as_written(path), problem.text, layer.origin)
    return problem


def _written_depth(says: Any, path: Keys) -> int | None:
    """Return how many keys of ``path`` a layer writes; None if it does not set the value."""
    for depth in range(len(path) + 1):
        node = follow(says, path[:depth], missing=_MISSING)
        if node is _MISSING:
            return None
        if not isinstance(node, Mapping | list | tuple):
            return depth
    return len(path)


def _mention(problems: Sequence[Problem], key: str) -> bool:
    return any(problem.path[:1] == (key,) for problem in problems)


def _no_environment() -> Problem:
    return Problem(
        ("environment",),
        "is missing. Name one, as in 'environment: t-maze'; `amago components environment` lists them",
    )

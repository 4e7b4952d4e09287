"""Interpolation: ``${key.path}`` is replaced by the value of another key.

OmegaConf's resolvers, ``${name:argument}``, are refused: they read from outside the spec, for instance
environment variables with secrets, and the resolved spec of a run is stored and printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from amago_core.spec.paths import Path
from amago_core.spec.problems import Problem

_RESOLVER = re.compile(r"\$\{[^}]*:")


def resolve(written: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Replace every interpolation by the value it refers to.

    Returns:
        The resolved spec, without the values that have a problem, and those problems.
    """
    problems = [problem for path, text in _texts(written, ()) for problem in _forbidden(path, text)]
    for problem in problems:
        _remove(written, problem.path)
    # Only after the resolvers are removed: looking up a mapping resolves everything in it.
    config = OmegaConf.create(written)
    for path, text in list(_texts(written, ())):
        if "${" not in text:
            continue
        value = _value(config, path, text)
        if isinstance(value, Problem):
            problems.append(value)
            _remove(written, path)
        else:
            _put(written, path, value)
    return written, problems


def _texts(node: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _texts(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _texts(value, (*path, index))


def _forbidden(path: Path, text: str) -> Iterator[Problem]:
    if text == "???":
        yield Problem(path, "'???' is a placeholder; write a value")
    if _RESOLVER.search(text):
        yield Problem(
            path,
            f"'{text}' calls a resolver. Only references to other keys are allowed: '${{key.path}}'",
        )


def _value(config: Any, path: Path, text: str) -> Any:
    try:
        value = _lookup(config, path)
    except InterpolationKeyError:
        return Problem(path, f"'{text}' refers to a key that is not set")
    except (OmegaConfBaseException, RecursionError) as error:
        lines = str(error).strip().splitlines() or ["it refers to itself"]
        return Problem(path, f"'{text}' cannot be resolved: {lines[0]}")
    if any("${" in leaf for _, leaf in _texts(value, ())):
        return Problem(
            path, f"'{text}' still holds '${{', which is reserved for references to other keys"
        )
    return value


def _lookup(config: Any, path: Path) -> Any:
    node = config
    for key in path:
        node = node[key]
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _put(node: Any, path: Path, value: Any) -> None:
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value


def _remove(node: Any, path: Path) -> None:
    for key in path[:-1]:
        node = node[key]
    if isinstance(node, list):
        # Later items keep their indices.
        node[int(path[-1])] = None
    else:
        del node[path[-1]]

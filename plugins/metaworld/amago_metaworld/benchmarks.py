"""Tasks and goals of Meta-World's benchmarks."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import gymnasium

from amago_metaworld.names import MULTI, ONE
from amago_registry.errors import UnavailableError, reason

METAWORLD = "metaworld>=3.1,<4"
_SEEDS = 2**32 - 1
"""Number of seeds that the package takes; held-out goals are drawn from the next seed."""


def task_names(benchmark: str, task: str | None, split: str) -> tuple[str, ...]:
    """Return the tasks of a benchmark's split, in its order.

    Raises:
        UnavailableError: If the package cannot be imported.
    """
    package = _package("env_dict")
    if benchmark in ONE:
        assert task is not None
        return (task,)
    tasks = getattr(package, f"{benchmark}_V3")
    return tuple(tasks if benchmark in MULTI else tasks[split])


def make_env(task: str) -> gymnasium.Env[Any, Any]:
    """Return a fresh environment of the package, of a task and without a goal."""
    env: gymnasium.Env[Any, Any] = _package("env_dict").ALL_V3_ENVIRONMENTS[task]()
    return env


@cache
def goals(benchmark: str, task: str, split: str, seed: int) -> tuple[Any, ...]:
    """Return the 50 goals of a task, in the package's form, drawn from a seed.

    As in the package, held-out goals of a task differ from its training goals. Goals of one task do not
    depend on the other tasks, so they are drawn when the task is first used.
    """
    package = _package()
    if benchmark in MULTI:
        return tuple(package.MT1(task, seed=seed % _SEEDS).train_tasks)
    drawn = package.ML1(task, seed=seed % _SEEDS)
    return tuple(drawn.test_tasks if (benchmark, split) == ("ML1", "test") else drawn.train_tasks)


def _package(module: str = "") -> Any:
    try:
        package = import_module("metaworld")
        return import_module(f"metaworld.{module}") if module else package
    except Exception as error:
        raise UnavailableError(
            "the environment metaworld needs the package metaworld, which cannot be imported here: "
            f"{reason(error)}. Install it: pip install '{METAWORLD}'"
        ) from error

"""Steps per second of the environments of amago-standard, without an agent, resets included.

    python -m benchmarks.environments                            # the whole table: about a minute
    python -m benchmarks.environments --tasks dark-room --count 4096

Every task with its defaults, under random actions that were drawn before, in one process: no agent, no
recording, no engine. ``alone``: one environment. ``vectorized``: the vector form that a task has for
``collector.vectorization=native``, ``--count`` tasks stepped with array operations; its
steps are counted over all tasks. Each case is timed for ``--seconds``, in whole rounds of 500 steps,
after one that is not counted.

Environments whose packages are missing are left out with the reason; ``gymnasium`` and ``mixture`` wrap
others and are not in the table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from amago_registry.component import Component
from amago_registry.contexts import EnvironmentContext
from amago_registry.errors import AmagoError
from amago_standard.hooks import amago_register_environments

SECONDS, ROUND = 2.0, 500
NEED_OPTIONS = ("gymnasium", "mixture")
TASKS = {
    component.name: component
    for component in amago_register_environments()
    if component.name not in NEED_OPTIONS
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--count", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    arguments = parser.parse_args()
    print(f"{'task':<22} {'alone steps/s':>14} {f'vectorized ({arguments.count}) steps/s':>26}")
    for name in arguments.tasks:
        print(_row(name, arguments.count, arguments.seconds), flush=True)


def _row(name: str, tasks: int, seconds: float) -> str:
    try:
        alone = speed_alone(TASKS[name], seconds)
        vectorized = speed_vectorized(TASKS[name], tasks, seconds)
    except (AmagoError, ImportError) as error:
        return f"{name:<22} left out: {error}"
    return f"{name:<22} {alone:>14,.0f} {'-' if vectorized is None else f'{vectorized:,.0f}':>26}"


def speed_alone(component: Component, seconds: float) -> float:
    """Return steps per second of one environment."""
    env = _part(component).make()
    env.action_space.seed(0)
    actions, seeds = [env.action_space.sample() for _ in range(ROUND)], count()
    env.reset(seed=next(seeds))

    def play() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset(seed=next(seeds))

    rate = ROUND * _rounds_per_second(play, seconds)
    env.close()
    return rate


def speed_vectorized(component: Component, tasks: int, seconds: float) -> float | None:
    """Return steps per second of a vector form, over all its tasks; None if there is none."""
    part = _part(component)
    if not hasattr(part, "make_vector"):
        return None
    vector = part.make_vector(tasks)
    vector.action_space.seed(0)
    actions, seeds = [vector.action_space.sample() for _ in range(ROUND)], count()
    vector.reset(seed=[next(seeds) for _ in range(tasks)])

    def play() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = vector.step(action)
            over = terminated | truncated
            if over.any():
                fresh = [next(seeds) if ended else None for ended in over.tolist()]
                vector.reset(seed=fresh, options={"reset_mask": over})

    rate = tasks * ROUND * _rounds_per_second(play, seconds)
    vector.close()
    return rate


def _part(component: Component) -> Any:
    return component.load()(EnvironmentContext(), component.options())


def _rounds_per_second(play: Callable[[], None], seconds: float) -> float:
    play()
    rounds, begin = 0, time.perf_counter()
    while rounds == 0 or time.perf_counter() - begin < seconds:
        play()
        rounds += 1
    return rounds / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()

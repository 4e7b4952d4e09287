"""Steps per second of environments with an agent, and the overhead of the engine.

    python -m benchmarks.rollout                                    # the whole table: about 2 minutes
    python -m benchmarks.rollout --tasks t-maze --counts 32 --vectorizations sync

A Transformer of width 128 and 3 layers with a context of 128 that is untrained, all other options at
their defaults; actions are sampled and explored. CartPole-v1, whose
pole falls after about 20 steps, and the T-maze of length 200. Recording is included: columns, and a
copy of each trajectory as the replay takes it; writing it to disk is not (see ``benchmarks.replay``).
One thread, and with ``async`` one for each process of environments.

Columns: steps per second, over all environments; shares of the wall time. Network: the agent's ``act``
and ``reset``, timed where they are called. Environment: with ``sync``, the time that bare environments
take for the same seeds and actions, without the engine, in the same process right after the run,
so that all overhead around an environment counts as the engine's; with ``async``, the waiting
for processes. Rest: what remains; with ``sync`` an upper bound, because bare
environments with warm caches are at their fastest. Every case has a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amago_core.acting.collector import Collector
    from amago_core.acting.task import Task
    from amago_registry.trajectories import Trajectory

WARM_UP, CHUNK, SECONDS = 256, 32, 6.0
TASKS: dict[str, dict[str, Any]] = {
    "cartpole": {"use": "gymnasium", "id": "CartPole-v1"},
    "t-maze": {"use": "t-maze", "length": 200},
}
_HEADER = (
    f"{'task':<9} {'environments':>12} {'run':>6} {'steps/s':>8} {'environment':>11} {'network':>8} "
    f"{'rest':>5}"
)


def main() -> None:
    """Print the table, or measure one case and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument(
        "--vectorizations", nargs="+", choices=("sync", "async"), default=["sync", "async"]
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(**json.loads(arguments.case))))
        return
    print(_HEADER)
    for task in arguments.tasks:
        for count in arguments.counts:
            for vectorization in arguments.vectorizations:
                found = _in_a_process({"task": task, "count": count, "vectorization": vectorization})
                print(
                    f"{task:<9} {count:>12} {vectorization:>6} {found['steps_per_second']:>8,.0f} "
                    f"{found['environment']:>11.1%} {found['network']:>8.1%} {found['rest']:>5.1%}",
                    flush=True,
                )


def _in_a_process(case: dict[str, Any]) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.rollout", "--case", json.dumps(case)]
    finished = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return measured


def measure(task: str, count: int, vectorization: str) -> dict[str, float]:
    """Return steps per second of one case, and where the time goes."""
    import torch

    from amago_core.replay.trajectory_checks import stored_copy

    torch.set_num_threads(1)
    collector, made = _collector(task, count, vectorization)
    recorded: list[Trajectory] = []

    def sink(trajectory: Trajectory) -> None:
        recorded.append(stored_copy(trajectory))

    try:
        collector.start()
        collector.run(WARM_UP, sink, [])
        recorded.clear()
        network = _Stopwatch(collector.agent, "act", "reset")
        waiting = _Stopwatch(collector.environments, "step", "reset")
        steps, wall = 0, time.perf_counter()
        while not recorded or time.perf_counter() - wall < SECONDS:
            collector.run(CHUNK, sink, [])
            steps += CHUNK * count
        wall = time.perf_counter() - wall
    finally:
        collector.environments.close()
    environment = waiting.seconds
    if vectorization == "sync":
        environment = steps * _bare_seconds(made, recorded)
    shares = {"environment": environment / wall, "network": network.seconds / wall}
    return {"steps_per_second": steps / wall, **shares, "rest": 1 - sum(shares.values())}


def _collector(task: str, count: int, vectorization: Any) -> tuple[Collector, Task]:
    import numpy as np
    import torch

    from amago_core.acting.collector import Collector
    from amago_core.acting.task_seeds import TaskSeeds
    from amago_core.compose.build import compose_exploration
    from amago_core.compose.networks import compose_agent
    from amago_core.compose.tasks import compose_task
    from amago_core.environments import make_environments
    from amago_core.spec import load_spec

    backbone = {"use": "transformer", "width": 128, "layers": 3}
    spec = load_spec(
        {
            "environment": TASKS[task],
            "agent": {"context_length": 128, "backbone": backbone},
            "collector": {"environments": count},
        }
    )
    torch.manual_seed(spec.seed)
    made = compose_task(spec.environment, spec.seed)
    assert made.make is not None
    collector = Collector(
        compose_agent(spec.agent, made),
        make_environments(made.make, made.name, count, vectorization),
        made.name,
        TaskSeeds(spec.seed, 0, np.zeros(count, np.int64)),
        sample=True,
        exploration=compose_exploration(spec, made),
        rng=np.random.default_rng(spec.seed),
    )
    return collector, made


class _Stopwatch:
    """Adds up the seconds that some methods of an object take."""

    def __init__(self, owner: Any, *methods: str) -> None:
        self.seconds = 0.0
        for name in methods:
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            begin = time.perf_counter()
            try:
                return method(*arguments, **settings)
            finally:
                self.seconds += time.perf_counter() - begin

        return call


def _bare_seconds(task: Task, recorded: list[Trajectory]) -> float:
    """Return the seconds of a step, resets included, of a bare environment in recorded tasks."""
    from amago_registry.spaces import action_to_environment

    assert task.make is not None
    env = task.make()
    taken = [
        (one.seed, list(action_to_environment(one.columns["action"], task.action_space)))
        for one in recorded
    ]
    begin = time.perf_counter()
    for seed, actions in taken:
        env.reset(seed=seed)
        for action in actions:
            env.step(action)
    seconds = time.perf_counter() - begin
    env.close()
    return seconds / sum(len(actions) for _, actions in taken)


if __name__ == "__main__":
    main()

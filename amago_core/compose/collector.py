"""The collector of a spec, and the environments it steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from amago_core.acting.agent import Agent
from amago_core.acting.collector import Collector
from amago_core.acting.recorder import SegmentLengths
from amago_core.acting.task import Task
from amago_core.acting.task_seeds import TaskSeeds
from amago_core.environments import VectorEnvironments, make_environments
from amago_core.spec import RunSpec
from amago_registry.protocols import Exploration

TRAINING_STREAM = 0
_SEGMENTS = 1


def make_collector(
    spec: RunSpec,
    task: Task,
    agent: Agent,
    exploration: Exploration,
    tasks: TaskSeeds,
    seeds: Sequence[int],
    note: Callable[[str], None],
) -> Collector:
    """Return a collector in environments of its own, as a spec says.

    Args:
        spec: The resolved spec.
        task: Where to act.
        agent: The policy.
        exploration: Changes the policy's actions.
        tasks: Source of task seeds.
        seeds: Of what else is drawn.
        note: Shows one sentence to the user.
    """
    collecting, pieces = spec.collector, None
    if collecting.segment_length is not None:
        lengths = np.random.default_rng([*seeds, _SEGMENTS])
        pieces = SegmentLengths(collecting.segment_length, collecting.segment_jitter, lengths)
    return Collector(
        agent,
        environments_of(spec, task, collecting.environments),
        task.name,
        tasks,
        sample=collecting.sample,
        exploration=exploration,
        rng=np.random.default_rng(seeds),
        pieces=pieces,
        max_restarts=collecting.max_restarts,
        note=note,
    )


def environments_of(spec: RunSpec, task: Task, count: int) -> VectorEnvironments:
    """Return environments of a task, running where a spec says."""
    assert task.make is not None, "nothing is collected without an environment"
    collecting = spec.collector
    return make_environments(
        task.make,
        task.name,
        count,
        collecting.vectorization,
        processes=collecting.processes,
        step_timeout=collecting.step_timeout,
    )

"""Build the rollout collector of a spec, and the vectorized environments it steps."""

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
"""Seed stream of training in one process; see :class:`amago_core.acting.task_seeds.TaskSeeds`."""

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
    """Build a collector with its own environments.

    Args:
        spec: The resolved spec.
        task: The task whose environments it steps.
        agent: The policy.
        exploration: Changes the policy's actions.
        tasks: Source of task seeds.
        seeds: Seeds of the exploration and of the segment lengths.
        note: Notifies the user with one sentence.
    """
    collecting, segments = spec.collector, None
    if collecting.segment_length is not None:
        lengths = np.random.default_rng([*seeds, _SEGMENTS])
        segments = SegmentLengths(collecting.segment_length, collecting.segment_jitter, lengths)
    return Collector(
        agent,
        environments_of(spec, task, collecting.environments),
        task.name,
        tasks,
        sample=collecting.sample,
        exploration=exploration,
        rng=np.random.default_rng(seeds),
        segments=segments,
        max_restarts=collecting.max_restarts,
        note=note,
    )


def environments_of(spec: RunSpec, task: Task, count: int) -> VectorEnvironments:
    """Make the vectorized environments of a task, in this process or in others, as the spec says."""
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

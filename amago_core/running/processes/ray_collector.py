"""A collector as an actor of a Ray cluster: what runs on some other machine.

It has no folder. Weights come with its calls, and trajectories leave with its answers, as columns. To
send shards would cost one copy less, but their numbers and totals are the writer's, and the writer is
beside the disk as in every other run: there, what arrives is checked before it is stored.

Ray pickles what it carries. So these messages are for machines that trust each other, as those of a
cluster must; nothing pickled is ever stored.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from amago_core.errors import ClusterError
from amago_core.replay.checks import stored_copy
from amago_core.running.processes.messages import error_to_event
from amago_core.running.processes.shared_files import CollectorProgress, load_published
from amago_core.system.threads import announce_threads
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.environments import MakeEnvironment
    from amago_core.running.processes.collector_process import CollectorLife
    from amago_registry.trajectories import Trajectory


@dataclass(frozen=True)
class Report:
    """What a collector answers to every call.

    Args:
        progress: What it has done, once its trajectories are stored; None if it could not even begin.
        trajectories: That have ended, to be stored.
        update: After which the weights that act were published.
        notes: Sentences for the user.
        mistake: What it has found wrong; see :mod:`amago_core.running.processes.messages`.
    """

    progress: CollectorProgress | None
    trajectories: list[Trajectory]
    update: int
    notes: list[str]
    mistake: dict[str, Any] | None


class RemoteCollector:
    """A collector that is told what to do, call by call.

    Args:
        number: Which collector it is.
        spec: The resolved spec, as plain mappings.
        local: The pickled function that makes environments; empty without one.
        version: Of amago-core, on the learner's machine.
    """

    def __init__(self, number: int, spec: dict[str, Any], local: bytes, version: str) -> None:
        announce_threads(1)  # Nothing up to here has imported torch.
        self._number, self._spec, self._local, self._version = number, spec, local, version
        self._life: CollectorLife | None = None
        self._update = 0
        self._ended: list[Trajectory] = []
        self._notes: list[str] = []

    def begin(self, weights: np.ndarray, before: CollectorProgress | None) -> Report:
        """Build agent and environments, and begin a task in each.

        Args:
            weights: As they were published.
            before: What this collector did in earlier lives.
        """
        return self._report(lambda: self._begin(weights, before))

    def collect_chunk(self, weights: np.ndarray | None) -> Report:
        """Take the next chunk of steps, with other weights where they are given."""
        return self._report(lambda: self._collect_chunk(weights))

    def close(self) -> None:
        """Close the environments."""
        if self._life is not None:
            self._life.collector.environments.close()

    def _begin(self, weights: np.ndarray, before: CollectorProgress | None) -> None:
        check_version(self._version)
        import torch

        from amago_core.compose.tasks import compose_task
        from amago_core.running.processes.collector_process import CollectorLife
        from amago_core.spec import load_spec

        torch.set_num_threads(1)
        # It has one CPU of its machine and no GPU, whatever the learner has.
        running = {**self._spec["running"], "device": "cpu", "precision": "fp32"}
        spec = load_spec({**self._spec, "running": running}, local_environment=True)
        task = compose_task(spec.environment, spec.seed, self._environment())
        self._life = CollectorLife(spec, task, self._number, before, self._notes.append)
        self._take_over(weights)
        self._life.collector.start()

    def _environment(self) -> MakeEnvironment | None:
        if not self._local:
            return None
        import cloudpickle

        try:
            make: MakeEnvironment = cloudpickle.loads(self._local)
        except ImportError as error:
            raise ClusterError(
                f"the function that makes environments cannot be used on {platform.node()}, a machine "
                f"of the Ray cluster ({type(error).__name__}: {error}). Install that module there, or "
                "define the environment in the program itself."
            ) from error
        return make

    def _collect_chunk(self, weights: np.ndarray | None) -> None:
        assert self._life is not None, "begin comes first"
        if weights is not None:
            self._take_over(weights)
        self._life.collect_chunk(lambda trajectory: self._ended.append(stored_copy(trajectory)))

    def _take_over(self, weights: np.ndarray) -> None:
        assert self._life is not None, "begin comes first"
        self._update = load_published(self._life.agent, weights.tobytes())

    def _report(self, do: Callable[[], None]) -> Report:
        """Do something, and say what came of it; what had ended before a mistake is not lost."""
        mistake = None
        try:
            do()
        except AmagoError as error:
            mistake = error_to_event(error)
        progress = None if self._life is None else self._life.progress()
        report = Report(progress, self._ended, self._update, self._notes.copy(), mistake)
        self._ended = []
        self._notes.clear()
        return report


def check_version(wanted: str) -> None:
    """Refuse to work for a learner of another version.

    Raises:
        ClusterError: Saying what to install.
    """
    here = metadata.version("amago-core")
    if here != wanted:
        raise ClusterError(
            f"amago-core is {wanted} where the learner runs and {here} on {platform.node()}, a machine "
            f"of the Ray cluster. There: pip install 'amago-core=={wanted}'"
        )

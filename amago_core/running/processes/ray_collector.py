"""A collector as a Ray actor, on any machine of the cluster.

It does not use the run's folder. Weights are arguments of its calls, and trajectories are returned, as
columns. Returning shards would cost one copy less. But the replay writer, which numbers shards and
keeps their totals, is on the learner's machine as in every other run; it checks trajectories and stores
them.

Ray pickles arguments and results, so the machines of a cluster must trust each other. Nothing pickled
is stored.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from amago_core.errors import ClusterError
from amago_core.replay.trajectory_checks import stored_copy
from amago_core.running.processes.messages import error_to_event
from amago_core.running.processes.shared_files import CollectorProgress, load_published
from amago_core.system.threads import announce_threads
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.environments import MakeEnvironment
    from amago_core.running.processes.collector_process import ResumableCollector
    from amago_registry.trajectories import Trajectory


@dataclass(frozen=True)
class Report:
    """Result of every call of a Ray collector.

    Args:
        progress: Its progress, to be written once the trajectories are stored; None if not started.
        trajectories: Trajectories that have ended, to be stored.
        update: Version of the acting weights: learner updates when they were published.
        notes: Sentences for the user.
        error: An error of ``error_to_event``; see :mod:`amago_core.running.processes.messages`.
    """

    progress: CollectorProgress | None
    trajectories: list[Trajectory]
    update: int
    notes: list[str]
    error: dict[str, Any] | None


class RemoteCollector:
    """A collector on a Ray actor: each call collects a chunk and returns a :class:`Report`.

    Args:
        number: Number of the collector.
        spec: The resolved spec, as plain mappings.
        environment: The pickled function that makes environments; empty without one.
        version: Of amago-core, on the learner's machine.
    """

    def __init__(self, number: int, spec: dict[str, Any], environment: bytes, version: str) -> None:
        announce_threads(1)  # Torch is not imported yet.
        self._number, self._spec, self._version = number, spec, version
        self._environment = environment
        self._resumable: ResumableCollector | None = None
        self._update = 0
        self._ended: list[Trajectory] = []
        self._notes: list[str] = []

    def begin(self, weights: np.ndarray, before: CollectorProgress | None) -> Report:
        """Build agent and environments, and start a task in each.

        Args:
            weights: The published weights, as bytes.
            before: The collector's progress before a restart; None at the first start.
        """
        return self._report(lambda: self._begin(weights, before))

    def collect_chunk(self, weights: np.ndarray | None) -> Report:
        """Take the next chunk of steps; load new weights first, unless they are None."""
        return self._report(lambda: self._collect_chunk(weights))

    def close(self) -> None:
        """Close the environments."""
        if self._resumable is not None:
            self._resumable.collector.environments.close()

    def _begin(self, weights: np.ndarray, before: CollectorProgress | None) -> None:
        check_version(self._version)
        import torch

        from amago_core.compose.tasks import compose_task
        from amago_core.running.processes.collector_process import ResumableCollector
        from amago_core.spec import load_spec

        torch.set_num_threads(1)
        # The actor has one CPU of its machine and no GPU, whatever the learner has.
        running = {**self._spec["running"], "device": "cpu", "precision": "fp32"}
        spec = load_spec({**self._spec, "running": running}, local_environment=True)
        task = compose_task(spec.environment, spec.seed, self._load_environment())
        self._resumable = ResumableCollector(spec, task, self._number, before, self._notes.append)
        self._load_weights(weights)
        self._resumable.collector.start()

    def _load_environment(self) -> MakeEnvironment | None:
        if not self._environment:
            return None
        import cloudpickle

        try:
            make: MakeEnvironment = cloudpickle.loads(self._environment)
        except ImportError as error:
            raise ClusterError(
                f"the function that makes environments cannot be used on {platform.node()}, a machine "
                f"of the Ray cluster ({type(error).__name__}: {error}). Install that module there, or "
                "define the environment in the program itself."
            ) from error
        return make

    def _collect_chunk(self, weights: np.ndarray | None) -> None:
        assert self._resumable is not None, "begin is called first"
        if weights is not None:
            self._load_weights(weights)
        self._resumable.collect_chunk(lambda trajectory: self._ended.append(stored_copy(trajectory)))

    def _load_weights(self, weights: np.ndarray) -> None:
        assert self._resumable is not None, "begin is called first"
        self._update = load_published(self._resumable.agent, weights.tobytes())

    def _report(self, do: Callable[[], None]) -> Report:
        """Call ``do`` and return the report; trajectories that ended before an error are part of it."""
        failure = None
        try:
            do()
        except AmagoError as error:
            failure = error_to_event(error)
        progress = None if self._resumable is None else self._resumable.progress()
        report = Report(progress, self._ended, self._update, self._notes.copy(), failure)
        self._ended = []
        self._notes.clear()
        return report


def check_version(wanted: str) -> None:
    """Check that this machine has the learner's version of amago-core.

    Raises:
        ClusterError: If it has another version; the message says what to install.
    """
    here = metadata.version("amago-core")
    if here != wanted:
        raise ClusterError(
            f"amago-core is {wanted} where the learner runs and {here} on {platform.node()}, a machine "
            f"of the Ray cluster. There: pip install 'amago-core=={wanted}'"
        )

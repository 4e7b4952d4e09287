"""What a run is made of, stored and brought back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from amago_core.checkpoints import CheckpointStore
from amago_core.collector import Collector, Tasks
from amago_core.compose import Composition
from amago_core.environments import make_environments
from amago_core.learner import Learner
from amago_core.replay import Replay, ReplayWriter, Sampler
from amago_core.run_dir import RunDir
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.spec import RunSpec
    from amago_core.tensor_trees import TensorTree

TRAINING_STREAM = 0
_MAY_CHANGE = (
    "training.rounds",
    "training.stop",
    "evaluation",
    "checkpoints",
    "trackers",
    "running",
)


class RunState:
    """Everything of a run that has to survive: learner, collector, replay and counters.

    Args:
        spec: The resolved spec.
        folder: Where all of it is stored.
        parts: The composed parts.
        note: Shows one sentence to the user.
    """

    def __init__(
        self, spec: RunSpec, folder: RunDir, parts: Composition, note: Callable[[str], None]
    ) -> None:
        self.spec, self.folder, self.parts, self._note = spec, folder, parts, note
        self.learner = Learner(parts.agent, parts.objective, spec.training, spec.running)
        self.collector = self._compose_collector()
        self.store = CheckpointStore(folder.checkpoints, keep=spec.checkpoints.keep)
        self.round = 0
        self.seconds, self.cpu_seconds = 0.0, 0.0
        self.mean_return: float | None = None

    def _compose_collector(self) -> Collector:
        spec, task = self.spec, self.parts.task
        count = spec.collector.environments
        return Collector(
            self.parts.agent,
            make_environments(task.make, task.name, count),
            task.name,
            Tasks(spec.seed, TRAINING_STREAM, np.zeros(count, np.int64)),
            sample=spec.collector.sample,
            exploration=self.parts.exploration,
            rng=np.random.default_rng([spec.seed, TRAINING_STREAM]),
        )

    def close(self) -> None:
        """Close the environments."""
        self.collector.environments.close()

    def begin(self) -> None:
        """Begin anew; what an earlier run may have stored is set aside."""
        self._open_replay(0)
        self.collector.start()
        self.save()

    def save(self, *, acting: bool = True) -> None:
        """Write a checkpoint of the last round, and evict what no kept checkpoint can sample.

        Args:
            acting: Include the started trajectories; without them, new ones begin on resuming.
        """
        learned, learner_facts = self.learner.state()
        acted, collector_facts = self.collector.state()
        tensors: dict[str, TensorTree] = {
            "model": dict(self.parts.agent.state_dict()),
            "learner": learned,
        }
        if acting:
            tensors["acting"] = acted
        facts = {
            "learner": learner_facts,
            "collector": collector_facts,
            "stored": self.writer.stored,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "mean_return": self.mean_return,
        }
        self.store.save(self.round, self.learner.updates, tensors, facts)
        oldest = min((kept.facts["stored"] for kept in self.store.kept()), default=0)
        self.replay.evict(before=oldest - self.spec.replay.capacity)

    def restore(self) -> bool:
        """Go on from the newest whole checkpoint; return False if there is none.

        Raises:
            ReplayError: If the replay has lost trajectories that were stored.
        """
        checkpoint, damaged = self.store.survey()
        for reason in damaged:
            self._note(f"skipped a damaged checkpoint: {reason}")
        if checkpoint is None:
            self._note("there is no whole checkpoint to go on from: training begins anew")
            return False
        tensors, facts = self.store.load(checkpoint)
        self.parts.agent.load_state_dict(tensors["model"])
        self.round, self.mean_return = checkpoint.round, facts["mean_return"]
        self.seconds, self.cpu_seconds = facts["seconds"], facts["cpu_seconds"]
        self._open_replay(facts["stored"])
        self._restore_collector(tensors, facts["collector"])
        # Last, because it restores torch's generator, which the environments' start may have used.
        self.learner.load_state(tensors["learner"], facts["learner"])
        self._note(f"going on after round {self.round}, update {self.learner.updates}")
        if torch.get_num_threads() > 1 or self.parts.agent.device.type != "cpu":
            self._note(
                "weights and replay go on; the bits of an uninterrupted run are promised only with "
                "running.threads=1 running.device=cpu"
            )
        return True

    def _restore_collector(self, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        if "acting" not in tensors:
            self.collector.restart(facts)
        elif not self.collector.load_state(tensors["acting"], facts):
            self._note(
                f"environment {self.parts.task.name} did not replay to where it was: it is not "
                "reproducible from its seed, so new trajectories begin and this run is not bit-exact"
            )

    def _open_replay(self, stored: int) -> None:
        """Open the replay as of the time when it held ``stored`` trajectories; set later ones aside."""
        capacity = self.spec.replay.capacity
        Replay(self.folder.replay, capacity).set_aside(after=stored)
        self.writer = ReplayWriter(self.folder.replay)
        self.replay = Replay(self.folder.replay, capacity)
        missing = self.replay.missing(stored)
        if missing:
            self._note(
                f"{missing} of the trajectories that this checkpoint samples from are gone from "
                f"{self.folder.replay}: the run goes on without them and is not bit-exact"
            )
        self.sampler = Sampler(
            self.replay, self.spec.seed, self.spec.agent.context_length, self.parts.relabeler
        )


def can_go_on(folder: RunDir) -> bool:
    """Return whether a run has a whole checkpoint, so that its weights come from there."""
    return CheckpointStore(folder.checkpoints, keep=1).survey()[0] is not None


def check_same(folder: RunDir, spec: RunSpec) -> list[str]:
    """Refuse to go on under another spec; how long and how often things happen may change.

    Returns:
        What such a change entails, as sentences for the user.

    Raises:
        AmagoError: Listing every key in which the two specs differ.
    """
    from amago_core.spec import load_spec
    from amago_core.spec.comparing import differences

    stored = load_spec(folder.spec, local_environment=True)
    changed = [line for line in differences(stored, spec) if not line.startswith(_MAY_CHANGE)]
    if changed:
        listed = "".join(f"\n  {line}" for line in changed)
        raise AmagoError(f"{folder.path} was trained with another spec; it cannot go on with:{listed}")
    before, now, schedule = stored.training.rounds, spec.training.rounds, spec.training.schedule
    if before == now or schedule == "constant":
        return []
    return [
        f"training.rounds was {before} and is {now}: the {schedule} schedule spans all of them, so the "
        "learning rate jumps where the run goes on"
    ]

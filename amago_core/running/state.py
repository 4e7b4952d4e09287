"""The state of a run: saved to checkpoints and restored from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch

from amago_core.compose.build import Composition
from amago_core.learning.learner import Learner
from amago_core.run_folder.checkpoints import CheckpointStore, checkpoint_errors, is_count
from amago_core.run_folder.run_dir import RunDir

if TYPE_CHECKING:
    from amago_core.running.experience import ExperienceSource
    from amago_core.spec import RunSpec
    from amago_core.system.tensor_tree import TensorTree


class RunState:
    """The state of a run that checkpoints hold: learner, experience and counters.

    Args:
        spec: The resolved spec.
        folder: The run's folder.
        parts: The composed parts.
        experience: Where trajectories come from.
        note: Shows one sentence to the user.
    """

    def __init__(
        self,
        spec: RunSpec,
        folder: RunDir,
        parts: Composition,
        experience: ExperienceSource,
        note: Callable[[str], None],
    ) -> None:
        self.spec, self.parts, self.experience, self._note = spec, parts, experience, note
        self.learner = Learner(parts.agent, parts.objective, spec.training, spec.running)
        self.store = CheckpointStore(folder.checkpoints, keep=spec.checkpoints.keep)
        self.round, self.update_slot = 0, 0
        self.seconds, self.cpu_seconds = 0.0, 0.0
        self.mean_return: float | None = None

    def begin(self) -> None:
        """Start a new run and save its first checkpoint."""
        self.experience.begin()
        self.save()

    def save(self, *, acting: bool = True) -> None:
        """Save a checkpoint, and evict trajectories that no kept checkpoint can sample.

        Args:
            acting: Include unfinished trajectories; without them, new ones start when the run resumes.
        """
        tensors, facts = self._collect_state(acting)
        self.store.save(self.round, self.learner.updates, tensors, facts)
        stored = (kept.facts.get("stored") for kept in self.store.kept())
        self.experience.evict(min(filter(is_count, stored), default=0))

    def save_if_best(self) -> None:
        """Save the weights as ``checkpoints/best`` if their evaluation is the best so far."""
        reached = self.mean_return
        if not self.spec.checkpoints.best or reached is None or not isfinite(reached):
            return
        tensors: dict[str, TensorTree] = {"model": dict(self.parts.agent.state_dict())}
        facts = {"mean_return": reached}
        self.store.save_best(self.round, self.learner.updates, tensors, facts)

    def _collect_state(self, acting: bool) -> tuple[dict[str, TensorTree], dict[str, Any]]:
        learned, learner_facts = self.learner.state()
        acted, experience_facts = self.experience.state(acting=acting)
        tensors: dict[str, TensorTree] = {
            "model": dict(self.parts.agent.state_dict()),
            "learner": learned,
        }
        if acted is not None:
            tensors["acting"] = acted
        facts = {
            **experience_facts,
            "learner": learner_facts,
            "stored": self.experience.stored,
            "slot": self.update_slot,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "mean_return": self.mean_return,
        }
        return tensors, facts

    def restore(self) -> bool:
        """Restore the newest intact checkpoint; return False if there is none.

        Raises:
            ReplayError: If the replay does not match the checkpoint, or its files cannot be moved.
            CheckpointError: If the checkpoint does not fit this run.
        """
        checkpoint, damaged = self.store.find_latest()
        for reason in damaged:
            self._note(f"skipped a damaged checkpoint: {reason}")
        if checkpoint is None:
            self._note(
                "there is no intact checkpoint to resume from: training starts from the beginning"
            )
            return False
        tensors, facts = self.store.load(checkpoint)
        with checkpoint_errors(checkpoint):
            self.parts.agent.load_state_dict(tensors["model"])
            self._restore_counters(checkpoint.round, facts)
            acting: Any = tensors.get("acting")
            self.experience.restore(acting, facts)
            # Last, because it restores torch's random generator, which the environments' start may use.
            self.learner.load_state(tensors["learner"], facts["learner"])
        self._note(f"resuming after round {self.round}, update {self.learner.updates}")
        self._note_exactness()
        return True

    def _restore_counters(self, done: int, facts: Mapping[str, Any]) -> None:
        slots = max(1, self.spec.training.updates_per_round)
        stored, slot, reached = facts["stored"], facts.get("slot", 0), facts["mean_return"]
        if not (is_count(stored) and is_count(slot) and slot < slots):
            raise ValueError(f"it stored {stored!r:.20} trajectories, slot {slot!r:.20} of {slots}")
        self.round, self.update_slot = done, slot
        self.seconds, self.cpu_seconds = float(facts["seconds"]), float(facts["cpu_seconds"])
        self.mean_return = None if reached is None else float(reached)

    def _note_exactness(self) -> None:
        if self.spec.running.mode == "async":
            self._note(
                "weights, replay and counters are restored; to resume bit-exact, train with "
                "running.mode=interleaved"
            )
        elif torch.get_num_threads() > 1 or self.parts.agent.device.type != "cpu":
            self._note(
                "weights and replay are restored; to resume bit-exact, train with running.threads=1 "
                "running.device=cpu"
            )

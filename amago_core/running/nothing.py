"""No experience of its own: a run that learns from a dataset alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amago_core.running.experience import Experience, Metrics, Tick
    from amago_core.tensor_trees import TensorTree


class NoExperience:
    """Steps no environment and stores nothing."""

    def __init__(self) -> None:
        self.replay = None
        self.env_steps, self.stored, self.cpu_seconds = 0, 0, 0.0
        self.limit: int | None = 0

    def begin(self) -> None:
        """Nothing to begin."""

    def state(self, *, acting: bool) -> tuple[TensorTree | None, dict[str, Any]]:
        """Return nothing."""
        return None, {}

    def restore(self, acting: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def collect(self, tick: Tick) -> None:
        """Nothing to collect."""

    def fault(self) -> None:
        """Nothing to store."""

    def turn(self, rounds: int, slots: int, update: int) -> bool:
        """Return that there is something to learn from: the dataset."""
        return True

    def updated(self, rounds: int, slots: int, update: int) -> None:
        """Nobody waits for the learner."""

    def metrics(self) -> Metrics:
        """Return no numbers: no trajectory ends."""
        return {"return": None, "success": None, "length": None}

    def evict(self, oldest: int) -> None:
        """Nothing to remove."""

    def close(self) -> None:
        """Nothing to close."""


if TYPE_CHECKING:

    def _satisfies_the_protocol(experience: NoExperience) -> Experience:
        return experience

"""How far a learner and its collectors may get from each other.

Both are counted in rounds. A round of learning is ``updates_per_round`` updates. A round of collecting
is what one round of an interleaved run collects, however many collectors share the work: with two of
them, each environment takes half of ``steps_per_round``. So the updates per environment-step, the
number of rounds and every schedule are those of an interleaved run of the same spec.

Only steps and updates are counted, never time. Steps count when they are taken, not when the
trajectory they belong to is stored: otherwise a trajectory longer than the lag would stop both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amago_core.spec import RunSpec


LONGEST_CHUNK = 32
"""Most steps that a collector takes before it says how far it is."""


@dataclass(frozen=True)
class RateLimiter:
    """The rules by which each side waits for the other; one of them can always go on.

    A round has as many slots as updates, and at least one. A slot is an update or, as long as there is
    nothing to learn from, is passed without one, like an interleaved round before any trajectory ended.

    Args:
        steps_per_round: Steps of each environment in an interleaved round, at least 1.
        updates_per_round: Updates in a round.
        collectors: Processes that share the steps of a round.
        max_lag: Rounds by which either side may be ahead.
    """

    steps_per_round: int
    updates_per_round: int
    collectors: int
    max_lag: float

    @classmethod
    def of(cls, spec: RunSpec) -> RateLimiter:
        """Return the limiter of a spec."""
        training, running = spec.training, spec.running
        return cls(
            training.steps_per_round, training.updates_per_round, running.collectors, running.max_lag
        )

    @property
    def slots(self) -> int:
        """Slots of a round."""
        return max(1, self.updates_per_round)

    def learned(self, rounds: int, slots: int) -> float:
        """Return how far the learner is, in rounds."""
        return rounds + slots / self.slots

    def collected(self, steps: int) -> float:
        """Return how far the collectors are, in rounds.

        Args:
            steps: Steps that one environment of each collector took, added up over the collectors.
        """
        return steps / self.steps_per_round

    def may_update(self, learned: float, collected: float) -> bool:
        """Whether the learner may take its next update."""
        return learned < collected + self.max_lag

    def may_skip(self, learned: float, collected: float) -> bool:
        """Whether the learner may pass its next slot, because nothing is stored yet."""
        return collected >= learned + min(self.max_lag, 1 / self.slots)

    def may_collect(self, learned: float, collected: float) -> bool:
        """Whether collectors may take their next chunk of steps."""
        return collected < learned + self.max_lag

    @property
    def chunk(self) -> int:
        """Steps between two looks at the learner; all collectors together overshoot by little."""
        return max(1, min(LONGEST_CHUNK, int(self.max_lag * self._share / 4)))

    @property
    def steps_per_shard(self) -> int:
        """Steps of a collector between two shards: four shards a round are few files and fresh data."""
        return max(self.chunk, int(self._share / 4))

    @property
    def _share(self) -> float:
        """Steps of one environment of one collector in a round."""
        return self.steps_per_round / self.collectors

    @property
    def slots_per_report(self) -> int:
        """Slots after which the learner says how far it is."""
        return max(1, int(min(self.max_lag, 1.0) * self.slots / 8))

    @property
    def updates_per_publishing(self) -> int:
        """Updates after which the weights are published: ten times a round.

        Interleaved, weights act that are up to a whole round old. Writing them takes about as long as
        one update does at the most, so this is at most a few percent once a round has 200 updates.
        """
        return ceil(self.slots / 10)

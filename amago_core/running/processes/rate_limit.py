"""Rate limiter of an asynchronous run: bounds the lag between the learner and its collectors.

Reverb (Cassirer et al., 2021, arXiv:2102.04736) has the same idea under the same name: it bounds the
ratio of sampled to inserted items. Here, updates and environment steps are compared, in rounds.

A round of learning is ``updates_per_round`` updates. A round of collecting is what one round of an
interleaved run collects, however many collectors share the work: with two of them, each environment
takes half of ``steps_per_round``. So the updates per environment step, the number of rounds and every
schedule are those of an interleaved run of the same spec.

Only steps and updates are counted, never time. Steps count when they are taken, not when their
trajectory is stored: otherwise a trajectory longer than the allowed lag would block both sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amago_core.spec import RunSpec


LONGEST_CHUNK = 32
"""Most steps that a collector takes between two writes of its progress."""


@dataclass(frozen=True)
class RateLimiter:
    """Decides which side waits, learner or collectors; the two never wait for each other.

    A round has as many update slots as updates, and at least one. The learner uses a slot for an update
    or, as long as no trajectory is stored, skips it, as an interleaved run skips a round's updates.

    Args:
        steps_per_round: Steps of each environment in an interleaved round, at least 1.
        updates_per_round: Updates in a round.
        collectors: Collectors, which share the steps of a round.
        max_lag: Rounds by which either side may be ahead of the other.
    """

    steps_per_round: int
    updates_per_round: int
    collectors: int
    max_lag: float

    @classmethod
    def of(cls, spec: RunSpec) -> RateLimiter:
        """Return the rate limiter of a spec."""
        training, running = spec.training, spec.running
        return cls(
            training.steps_per_round, training.updates_per_round, running.collectors, running.max_lag
        )

    @property
    def update_slots(self) -> int:
        """Update slots of a round."""
        return max(1, self.updates_per_round)

    def rounds_learned(self, rounds: int, slots: int) -> float:
        """Return the learner's progress in rounds: those done, and a fraction of the present one."""
        return rounds + slots / self.update_slots

    def rounds_collected(self, steps: int) -> float:
        """Return the collectors' progress in rounds.

        Args:
            steps: Steps of one environment of each collector, summed over the collectors.
        """
        return steps / self.steps_per_round

    def may_update(self, learned: float, collected: float) -> bool:
        """Whether the learner may take its next update."""
        return learned < collected + self.max_lag

    def may_skip(self, learned: float, collected: float) -> bool:
        """Whether the learner, with no trajectory stored yet, may skip its next update slot."""
        return collected >= learned + min(self.max_lag, 1 / self.update_slots)

    def may_collect(self, learned: float, collected: float) -> bool:
        """Whether collectors may take their next chunk of steps."""
        return collected < learned + self.max_lag

    @property
    def chunk(self) -> int:
        """Steps between two checks of the learner's progress: few, to overshoot the lag by little."""
        return max(1, min(LONGEST_CHUNK, int(self.max_lag * self._share / 4)))

    @property
    def steps_per_shard(self) -> int:
        """Steps of a collector between two shards: four a round are few files, and data stays fresh."""
        return max(self.chunk, int(self._share / 4))

    @property
    def _share(self) -> float:
        """Steps of one environment of one collector in a round."""
        return self.steps_per_round / self.collectors

    @property
    def slots_per_report(self) -> int:
        """Update slots after which the learner writes its progress."""
        return max(1, int(min(self.max_lag, 1.0) * self.update_slots / 8))

    @property
    def updates_per_publishing(self) -> int:
        """Updates after which the weights are published: ten times a round.

        In an interleaved run, the agent acts with weights up to a round old. Writing weights takes at
        most about as long as an update: a few percent of the time once a round has 200 updates.
        """
        return ceil(self.update_slots / 10)

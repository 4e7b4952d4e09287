"""Task seeds: derived from run seed, stream and task number, so that any trajectory can be replayed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=2**16)
def task_seed(run_seed: int, stream: int, number: int) -> int:
    """Return the seed of one task: reproducible, and independent of the seeds of other tasks.

    Args:
        run_seed: Seed of the run.
        stream: 0 for training, others for evaluations.
        number: Index of the task in the stream.
    """
    words = np.random.SeedSequence([run_seed, stream, number]).generate_state(1)
    return int(words[0] >> 1)


@dataclass
class TaskSeeds:
    """Assigns tasks and their seeds to environments.

    Args:
        run_seed: Seed of the run.
        stream: 0 for training, others for evaluations.
        number_B: Index of each environment's task in the stream.
        begun: Tasks begun so far.
    """

    run_seed: int
    stream: int
    number_B: np.ndarray
    begun: int = 0

    def begin(self, mask_B: np.ndarray) -> list[int | None]:
        """Assign new tasks where ``mask_B`` is true and return their seeds; None elsewhere."""
        for index in np.flatnonzero(mask_B):
            self.number_B[index] = self.begun
            self.begun += 1
        return [self.seed(index) if fresh else None for index, fresh in enumerate(mask_B)]

    def seeds(self) -> list[int | None]:
        """Return the seeds of the current tasks."""
        return [self.seed(index) for index in range(len(self.number_B))]

    def seed(self, index: int) -> int:
        """Return the seed of one environment's current task."""
        return self.seed_of(int(self.number_B[index]))

    def seed_of(self, number: int) -> int:
        """Return the seed of one task of the stream."""
        return task_seed(self.run_seed, self.stream, number)

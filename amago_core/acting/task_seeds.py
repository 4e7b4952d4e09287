"""Seeds of tasks: one stream of numbers per run, so that any trajectory can be replayed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=2**16)
def task_seed(run_seed: int, stream: int, number: int) -> int:
    """Return the seed of one task: reproducible, and unrelated to those of its neighbours.

    Args:
        run_seed: Seed of the run.
        stream: 0 for training, 1 for evaluation.
        number: Counts the tasks of the stream.
    """
    words = np.random.SeedSequence([run_seed, stream, number]).generate_state(1)
    return int(words[0] >> 1)


@dataclass
class TaskSeeds:
    """Which task each environment is in.

    Args:
        run_seed: Seed of the run.
        stream: 0 for training, 1 for evaluation.
        number_B: Number of each environment's task.
        begun: Tasks begun so far.
    """

    run_seed: int
    stream: int
    number_B: np.ndarray
    begun: int = 0

    def begin(self, mask_B: np.ndarray) -> list[int | None]:
        """Give environments where ``mask_B`` is true new tasks; return their seeds, else None."""
        for index in np.flatnonzero(mask_B):
            self.number_B[index] = self.begun
            self.begun += 1
        return [self.seed(index) if fresh else None for index, fresh in enumerate(mask_B)]

    def again(self) -> list[int | None]:
        """Return the seeds of the tasks that environments are in."""
        return [self.seed(index) for index in range(len(self.number_B))]

    def seed(self, index: int) -> int:
        """Return the seed of one environment's task."""
        return self.seed_of(int(self.number_B[index]))

    def seed_of(self, number: int) -> int:
        """Return the seed of one task of the stream."""
        return task_seed(self.run_seed, self.stream, number)

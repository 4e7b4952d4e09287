"""A program that trains on an environment that returns NaN after a given number of steps."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

import amago_core


class Meter(gymnasium.Env[Any, Any]):
    """Ten steps of noise; the reading after the given number of steps in this process is NaN."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)
    steps = 0

    def __init__(self, breaks_at: int) -> None:
        self.breaks_at = breaks_at

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._read(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        Meter.steps += 1
        self.time += 1
        seen = self._read()
        if Meter.steps == self.breaks_at:
            seen[0] = np.nan
        return seen, float(action), self.time == 10, False, {}

    def _read(self) -> Any:
        return self.np_random.uniform(-1, 1, 1).astype(np.float32)


def main(spec: str, run: str, breaks_at: str, *words: str) -> None:
    """Train; an environment fault ends the program with its message."""

    def meter() -> Meter:
        return Meter(int(breaks_at))

    try:
        amago_core.train(spec, environment=meter, run=run, resume="resume" in words)
    except amago_core.AmagoError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])

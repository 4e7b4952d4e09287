"""HalfCheetah with a hidden target velocity, to be inferred from rewards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from amago_registry.errors import UnavailableError, reason
from amago_standard.environments.task import Factory, Observation, Task

MUJOCO = "gymnasium[mujoco]>=1.1"


class HalfCheetahVelocity(Task):
    """HalfCheetah-Vel: run at a hidden target velocity, in several attempts.

    A task is one velocity v*, drawn evenly between 0 and ``max_velocity`` metres per second. With v
    the velocity at which HalfCheetah-v5 of gymnasium moved forward in a step and a its action, the
    step pays -abs(v - v*) - ``control_cost`` * sum(a**2) (Zintgraf et al., 2020, arXiv:1910.08348).
    After ``attempt_limit`` steps the cheetah is put back; the observation after an attempt is
    already the next start.

    Observation: the 17 of HalfCheetah-v5, then 1 if an attempt begins here else 0. Actions: 6
    torques in [-1, 1]. On the step that ends an attempt, ``info["attempt"]`` is its index from 0 and
    ``info["success"]`` the share of its steps whose velocity was at most ``tolerance`` off. The
    trajectory ends with the last attempt.

    Args:
        attempts: Attempts per trajectory.
        attempt_limit: Steps of one attempt.
        max_velocity: Fastest velocity of a task, in metres per second.
        control_cost: Cost of an action, per unit of its square.
        tolerance: Error of a velocity that counts as success, in metres per second.
        render_mode: None or ``"rgb_array"``.

    Raises:
        UnavailableError: If mujoco, or what gymnasium needs beside it, cannot be imported.
    """

    metadata: dict[str, Any] = {**Task.metadata, "render_fps": 20}  # A step is 0.05 seconds.

    def __init__(
        self,
        attempts: int = 3,
        attempt_limit: int = 200,
        max_velocity: float = 3.0,
        control_cost: float = 0.05,
        tolerance: float = 0.5,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(horizon=attempts * attempt_limit, render_mode=render_mode)
        self.attempts = attempts
        self.attempt_limit = attempt_limit
        self.max_velocity = max_velocity
        self.control_cost = control_cost
        self.tolerance = tolerance
        self._cheetah = _half_cheetah(render_mode)
        width = self._cheetah.observation_space.shape[0] + 1
        self.observation_space = spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = self._cheetah.action_space

    def _begin(self) -> Observation:
        self._velocity = float(self.np_random.uniform(0, self.max_velocity))
        self._attempt = 0
        return self._begin_attempt(seed=int(self.np_random.integers(2**31)))

    def _begin_attempt(self, seed: int | None = None) -> Observation:
        """Put the cheetah back; without a seed its start is the next of its own generator."""
        self._time = self._close = 0
        obs, _ = self._cheetah.reset(seed=seed)
        return _shown(obs, begins=True)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move for a twentieth of a second; where that ends the attempt, begin the next."""
        obs, _, _, _, moved = self._cheetah.step(action)
        error = abs(float(moved["x_velocity"]) - self._velocity)
        reward = -error - self.control_cost * float(np.square(action, dtype=np.float64).sum())
        self._time += 1
        self._close += error <= self.tolerance
        if self._time < self.attempt_limit:
            return _shown(obs, begins=False), reward, False, False, {}
        info = {"attempt": self._attempt, "success": self._close / self._time}
        self._attempt += 1
        return self._begin_attempt(), reward, self._attempt == self.attempts, False, info

    def close(self) -> None:
        """Close the simulation."""
        self._cheetah.close()

    def _picture(self) -> NDArray[np.uint8]:
        picture: NDArray[np.uint8] = self._cheetah.render()
        return picture


HalfCheetahVelocityPart = partial(Factory, HalfCheetahVelocity)


def _shown(obs: NDArray[np.float64], begins: bool) -> Observation:
    return np.append(obs, begins).astype(np.float32)


def _half_cheetah(render_mode: str | None) -> Any:
    """Return gymnasium's HalfCheetah-v5 without a time limit.

    Raises:
        UnavailableError: If a package it needs cannot be imported.
    """
    try:
        import mujoco
        from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
    except Exception as error:
        raise UnavailableError(
            "the environment half-cheetah-velocity needs the package mujoco, which cannot be imported "
            f"here: {reason(error)}. Install it: pip install '{MUJOCO}'"
        ) from error
    with _warnings_off(mujoco):
        return HalfCheetahEnv(render_mode=render_mode)


@contextmanager
def _warnings_off(mujoco: Any) -> Iterator[None]:
    """Suppress MuJoCo's warnings about gymnasium's model file, on the terminal and in its log file."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda _: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)

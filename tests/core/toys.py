"""Small environments and agents whose every number can be worked out by hand."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from amago_registry.protocols import State


class Walk(gymnasium.Env[Any, Any]):
    """A task of 1 to ``longest`` steps, its length drawn at reset; observations are drawn too.

    Pays the action's index (continuous: the sum) plus noise; every third step ends an attempt, a
    success if the noise was above one half. ``named`` puts observations into a dictionary of two keys,
    ``nested`` into dictionaries and a tuple.
    """

    def __init__(
        self,
        longest: int = 7,
        *,
        action: spaces.Space[Any] | None = None,
        named: bool = False,
        nested: bool = False,
        truncates: bool = False,
    ) -> None:
        self.longest, self.named, self.truncates = longest, named or nested, truncates
        self.nested = nested
        self.action_space = spaces.Discrete(3) if action is None else action
        seen = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        cell = spaces.Box(0, 255, (2, 2), np.uint8)
        self.observation_space = spaces.Dict(seen=seen, cell=cell) if named else seen
        if nested:
            pair = spaces.Tuple([seen, spaces.MultiDiscrete([9, 9])])
            self.observation_space = spaces.Dict(eye=spaces.Dict(cell=cell, pair=pair))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.length = 0, int(self.np_random.integers(1, self.longest + 1))
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        assert self.time < self.length, "stepped after its end"
        self.time += 1
        noise = float(self.np_random.random())
        info = {"success": float(noise > 0.5)} if self.time % 3 == 0 else {}
        done = self.time == self.length
        reward = float(np.sum(action)) + noise
        return self._observe(), reward, done and not self.truncates, done and self.truncates, info

    def _observe(self) -> Any:
        seen = np.array([self.time, self.np_random.random()], np.float32)
        if not self.named:
            return seen
        cell = self.np_random.integers(0, 256, (2, 2)).astype(np.uint8)
        if self.nested:
            return {"eye": {"cell": cell, "pair": (seen, np.array([self.time % 9, 1]))}}
        return {"seen": seen, "cell": cell}


class Kept(Walk):
    """A walk that records ``warmth``, [time + 0.5, a random number], in float64, and ``clock``.

    At step ``at`` of a task (0: at reset) its info is wrong in the way ``how`` names.
    """

    def __init__(self, longest: int = 7, *, at: int = -1, how: str = "") -> None:
        super().__init__(longest)
        self.at, self.how = at, how
        self.recorded_space = spaces.Dict(
            warmth=spaces.Box(-np.inf, np.inf, (2,), np.float64), clock=spaces.Box(0, 255, (), np.uint8)
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, _ = super().reset(seed=seed)
        return obs, self._info(obs)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated, info | self._info(obs)

    def _info(self, obs: Any) -> dict[str, Any]:
        warmth = np.array([self.time + 0.5, obs[1]])
        values: dict[str, Any] = {"warmth": warmth, "clock": np.uint8(self.time)}
        if self.time != self.at:
            return values
        spoiled: dict[str, Any] = {
            "shape": warmth[:1],
            "kind": warmth.astype(complex),
            "ragged": [1.0, [2.0]],
            "none": None,
            "nan": np.array([1.0, np.nan]),
            "whole": [3, -1],
        }
        if self.how == "lacks":
            return {"clock": values["clock"]}
        return values | {"warmth": spoiled[self.how]}


class Seeker(gymnasium.Env[Any, Any]):
    """Cells 0 to 9 of a line, from cell 4: two cells to visit in order, 1 paid for each; 12 steps.

    Action 0 goes left, 2 right. Records the cell. Takes other goals by ``options`` of its reset.
    """

    CELLS, LIMIT, PLACES = 10, 12, 2

    def __init__(self) -> None:
        goals = spaces.Box(-1, self.CELLS - 1, (self.PLACES, 1), np.int64)
        self.observation_space = spaces.Dict(
            obs=spaces.Box(0, self.CELLS - 1, (1,), np.float32), goals=goals
        )
        self.action_space = spaces.Discrete(3)
        self.recorded_space = spaces.Dict(achieved=spaces.Box(0, self.CELLS - 1, (1,), np.int64))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.cell = 0, 4
        drawn = self.np_random.integers(self.CELLS, size=(self.PLACES, 1))
        asked = drawn if options is None or "goals" not in options else options["goals"]
        self.left = [int(goal[0]) for goal in asked if goal[0] != -1]
        return self._observe(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 1
        self.cell = min(max(self.cell + int(action) - 1, 0), self.CELLS - 1)
        reached = bool(self.left) and self.left[0] == self.cell
        if reached:
            del self.left[0]
        over = not self.left
        return self._observe(), float(reached), over, not over and self.time == self.LIMIT, self._info()

    def _observe(self) -> Any:
        goals = np.full((self.PLACES, 1), -1, np.int64)
        if self.left:
            goals[-len(self.left) :, 0] = self.left
        return {"obs": np.array([self.cell], np.float32), "goals": goals}

    def _info(self) -> dict[str, Any]:
        return {"achieved": np.array([self.cell])}


class Choosy(gymnasium.Env[Any, Any]):
    """Ten steps with random masks; raises on masked actions, unless all choices are masked."""

    def __init__(self, action: spaces.Space[Any]) -> None:
        self.action_space = action
        self.sizes = [int(n) for n in np.ravel(getattr(action, "nvec", getattr(action, "n", 0)))]
        mask = spaces.Box(0, 1, (sum(self.sizes),), np.int8)
        self.observation_space = spaces.Dict(action_mask=mask, clock=spaces.Discrete(11))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        indices = (np.ravel(action) - np.ravel(self.action_space.start)).tolist()
        for index, allowed in zip(indices, self._parts(), strict=True):
            assert allowed[index] or not allowed.any(), f"{index} is forbidden by {allowed}"
        self.time += 1
        return self._observe(), 1.0, self.time == 10, False, {}

    def _parts(self) -> list[np.ndarray]:
        return np.split(self.mask, np.cumsum(self.sizes)[:-1])

    def _observe(self) -> Any:
        share = self.np_random.choice([0.1, 0.5, 0.9])
        self.mask = (self.np_random.random(sum(self.sizes)) < share).astype(np.int8)
        return {"action_mask": self.mask, "clock": self.time}


class Forgetful(Walk):
    """A walk whose noise does not come from its seed."""

    _generator = np.random.default_rng(0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        del seed
        return super().reset(seed=int(self._generator.integers(2**31)), options=options)


class Broken(Walk):
    """A walk of 100 steps that is wrong at step ``at`` (0: at reset) in the way ``how`` names."""

    def __init__(self, at: int, how: str) -> None:
        super().__init__(named=how == "keys")
        self.at, self.how = at, how

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, info = super().reset(seed=seed)
        self.length = 100
        info = None if (self.at, self.how) == (0, "info none") else info
        return (self._spoil(obs) if self.at == 0 else obs), info  # type: ignore[return-value]

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        if self.time != self.at:
            return obs, reward, terminated, truncated, info
        rewards: dict[str, Any] = {
            "reward nan": np.nan,
            "reward shape": np.zeros(2),
            "reward none": None,
        }
        infos: dict[str, Any] = {
            "success none": {"success": None},
            "success shape": {"success": np.zeros(2)},
            "info none": None,
        }
        return (
            self._spoil(obs),
            rewards.get(self.how, reward),
            np.zeros(2, bool) if self.how == "end shape" else terminated,  # type: ignore[return-value]
            np.zeros(2, bool) if self.how == "cut shape" else truncated,  # type: ignore[return-value]
            infos.get(self.how, info),
        )

    def _spoil(self, obs: Any) -> Any:
        if self.how == "shape":
            return np.zeros(3, np.float32)
        if self.how == "kind":
            return np.zeros(2, np.complex64)
        if self.how == "keys":
            return {"seen": obs["seen"]}
        if self.how == "nan":
            return np.array([0.5, np.nan], np.float32)
        if self.how == "raise":
            raise RuntimeError("the simulator is gone")
        return obs


class Fragile(Walk):
    """A walk of 1000 steps whose action is an index into ``HARM``: how the process is harmed.

    Its tasks are named ``even`` or ``odd``, after the seed.
    """

    HARM = ("nothing", "raise", "hang", "exit", "kill", "crash", "shape")

    def __init__(self) -> None:
        super().__init__(action=spaces.Discrete(len(self.HARM)))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        obs, _ = super().reset(seed=seed)
        self.length = 1000
        return obs, {"task": "odd" if seed and seed % 2 else "even"}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        harm = self.HARM[action]
        if harm == "raise":
            raise RuntimeError("the simulator is gone")
        if harm == "hang":
            self.spin()
        if harm == "exit":
            os._exit(3)
        if harm == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if harm == "crash":
            ctypes.string_at(0)
        obs, *others = super().step(action)
        return (obs[:1] if harm == "shape" else obs), *others

    def spin(self) -> None:
        while True:
            time.sleep(0.1)


def policy(
    time: int, prev_action: np.ndarray, prev_reward: float, width: int, sizes: Sequence[int] = ()
) -> np.ndarray:
    """Return the action a `SpyAgent` takes: an index, or from a wide enough space a vector."""
    mixed = 0.37 * time + prev_reward + float(prev_action @ np.arange(1, len(prev_action) + 1))
    if sizes:
        return np.array([int(1000 * (axis + 1) * abs(mixed)) % n for axis, n in enumerate(sizes)])
    if width == 0:
        return np.array(int(1000 * abs(mixed)) % 3)
    return np.sin(mixed + np.arange(width)).astype(np.float32)


class SpyAgent:
    """Acts by `policy` and records all its inputs; its state counts the steps of each task.

    Args:
        width: Dimensions of continuous actions; 0 for three discrete ones.
        sizes: Values of each axis of a MultiDiscrete or MultiBinary action.
    """

    device = torch.device("cpu")

    def __init__(self, width: int = 0, sizes: Sequence[int] = ()) -> None:
        self.width, self.sizes = width, sizes
        self.shown: list[dict[str, np.ndarray]] = []

    def eval(self) -> SpyAgent:
        return self

    def initial_state(self, batch: int) -> State:
        return {"count": torch.zeros(batch, dtype=torch.int64)}

    def reset(self, state: State, mask_B: Tensor) -> State:
        count = state["count"]
        assert isinstance(count, Tensor)
        return {"count": torch.where(mask_B, 0, count)}

    def act(
        self,
        obs: Mapping[str, Tensor],
        prev_action_BA: Tensor,
        prev_reward_B: Tensor,
        time_B: Tensor,
        state: State,
        *,
        sample: bool,
    ) -> tuple[Tensor, State]:
        count = state["count"]
        assert isinstance(count, Tensor)
        self.shown.append(
            {
                **{f"obs.{key}": value.numpy().copy() for key, value in obs.items()},
                "prev_action": prev_action_BA.numpy().copy(),
                "prev_reward": prev_reward_B.numpy().copy(),
                "time": time_B.numpy().copy(),
                "count": count.numpy().copy(),
            }
        )
        rows = zip(time_B.tolist(), prev_action_BA.numpy(), prev_reward_B.tolist(), strict=True)
        chosen = np.stack([policy(*row, self.width, self.sizes) for row in rows])
        return torch.from_numpy(chosen), {"count": count + 1}


def tiny(**changes: Any) -> dict[str, Any]:
    """Return a spec whose rounds take tenths of a second; top-level keys can be replaced."""
    written: dict[str, Any] = {
        "name": "tiny",
        "environment": {"use": "bandit", "arms": 3, "pulls": 10},
        "agent": {
            "context_length": 8,
            "auxiliary_discounts": [0.5],
            "encoder": {"use": "mlp", "hidden_dims": [8], "out_dim": 8},
            "backbone": {"use": "gru", "layers": 1, "width": 8},
            "actor": {"use": "mlp", "hidden_dims": [8]},
            "critic": {"use": "ensemble", "hidden_dims": [8]},
        },
        "replay": {"capacity": 12},
        "collector": {"environments": 2},
        "training": {"batch": 4, "rounds": 4, "steps_per_round": 20, "updates_per_round": 2},
        "evaluation": {"every": 2, "episodes": 3},
        "checkpoints": {"every": 2},
        "running": {"threads": 1, "device": "cpu"},
    }
    return written | changes


class Listener:
    """A reporter that records its calls."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.rounds: list[Mapping[str, Any]] = []
        self.finished = False

    def start(self, title: str, rounds: int, done: int) -> None:
        self.title = title

    def tick(self, phase: str, done: int, total: int) -> None:
        pass

    def round(self, metrics: Mapping[str, Any]) -> None:
        self.rounds.append(metrics)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def finish(self) -> None:
        self.finished = True

"""Correct environments, small enough to read, and ways of breaking each law.

Each class is a part and the environment that it makes, in one.
"""

from __future__ import annotations

import random
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from amago_registry import EnvironmentContext, Options
from amago_registry.goals import with_goals

ATTEMPT = 8
HORIZON = 2 * ATTEMPT
LATE = 5
"""A step beyond those that gymnasium's checker takes."""


class NoOptions(Options):
    """No options."""


class Walk(gymnasium.Env[Any, Any]):
    """Two attempts at a hidden target on a line, with noise: obeys every law."""

    metadata = {"render_modes": []}
    observation_space: Any = spaces.Dict(
        {"place": spaces.Box(-1, 1, (2,), np.float32), "attempt": spaces.Discrete(3)}
    )
    action_space: Any = spaces.Discrete(3)
    horizon: Any = HORIZON

    def __init__(self, context: EnvironmentContext, options: NoOptions) -> None:
        self.asked = context, options

    def make(self) -> Any:
        return type(self)(*self.asked)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.target = self.draw_target()
        self.time, self.place = 0, 0.0
        return self.observe(), {}

    def draw_target(self) -> int:
        return int(self.np_random.integers(-9, 10))

    def step(self, action: Any) -> Any:
        self.time += 1
        self.place = min(max(self.place + self.move(action), -1.0), 1.0)
        reward = self.pay()
        ended = self.time % ATTEMPT == 0
        info = self.outcome(self.time // ATTEMPT - 1) if ended else {}
        if ended:
            self.place = 0.0
        return self.observe(), reward, self.time == HORIZON, False, info

    def move(self, action: Any) -> float:
        return 0.1 * (int(action) - 1)

    def pay(self) -> Any:
        return self.target + self.place

    def outcome(self, attempt: int) -> dict[str, Any]:
        return {"attempt": attempt, "success": 0.5}

    def observe(self) -> Any:
        noise = self.np_random.uniform(-1, 1)
        return {"place": np.array([self.place, noise], np.float32), "attempt": self.time // ATTEMPT}


class ByForce(Walk):
    """Has continuous actions beyond [-1, 1]."""

    action_space = spaces.Box(-2, 2, (1,), np.float32)

    def move(self, action: Any) -> float:
        return 0.1 * float(action[0])


class Masked(Walk):
    """Raises on masked actions, which laws never take: obeys every law."""

    observation_space = spaces.Dict(
        {"see": Walk.observation_space, "action_mask": spaces.MultiBinary(3)}
    )

    def observe(self) -> Any:
        self.forbidden = int(self.np_random.integers(3))
        mask = np.ones(3, np.int8)
        mask[self.forbidden] = 0
        return {"see": super().observe(), "action_mask": mask}

    def move(self, action: Any) -> float:
        if action == self.forbidden:
            raise ValueError("it is forbidden")
        return super().move(action)


class Endless(Walk):
    """Has no end, horizon or attempts; tuple observations, several types of action."""

    observation_space = spaces.Tuple((Walk.observation_space, spaces.MultiBinary(2)))
    action_space = spaces.MultiDiscrete([3, 2])
    horizon = None

    def move(self, action: Any) -> float:
        return super().move(action[0])

    def step(self, action: Any) -> Any:
        obs, reward, *_ = super().step(action)
        return obs, reward, False, False, {}

    def observe(self) -> Any:
        obs = super().observe()
        return obs | {"attempt": 0}, np.zeros(2, np.int8)


class Fixed(Walk):
    """Always has the same task, which is allowed."""

    def draw_target(self) -> int:
        return 3

    def observe(self) -> Any:
        return {"place": np.array([self.place, 0], np.float32), "attempt": self.time // ATTEMPT}


class CannotMake(Walk):
    """Has no ``make``."""

    make: Any = None


class MakesNumbers(Walk):
    """Makes numbers."""

    def make(self) -> Any:
        return 3


class MakesItselfAgain(Walk):
    """Returns the same environment twice."""

    def make(self) -> Any:
        return self


class TakesWords(Walk):
    """Has a dictionary of actions, which is not supported."""

    action_space = spaces.Dict({"move": spaces.Discrete(3)})

    def move(self, action: Any) -> float:
        return super().move(action["move"])


class TakesAnything(ByForce):
    """Has unbounded actions, which are not supported."""

    action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)


class ShowsWords(Walk):
    """Has text observations, which are not arrays."""

    observation_space = spaces.Dict({**Walk.observation_space.spaces, "word": spaces.Text(3)})

    def observe(self) -> Any:
        return super().observe() | {"word": "abc"}


class MasksTooLittle(Masked):
    """Has a mask that is too short."""

    observation_space = spaces.Dict(
        {"see": Walk.observation_space, "action_mask": spaces.MultiBinary(2)}
    )

    def observe(self) -> Any:
        return super().observe() | {"action_mask": np.ones(2, np.int8)}

    def move(self, action: Any) -> float:
        return Walk.move(self, action)


class DiffersFromItsLike(Walk):
    """The second environment that a part makes has one action more."""

    made = 0

    def make(self) -> Any:
        env = super().make()
        env.action_space = spaces.Discrete(3 + self.made)
        self.made += 1
        return env


class IgnoresItsGenerator(Walk):
    """Uses its own generator instead of ``self.np_random``."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if seed is not None or not hasattr(self, "own"):
            self.own = np.random.default_rng(seed)
        self.target, self.time, self.place = int(self.own.integers(-9, 10)), 0, 0.0
        return self.observe(), {}

    def observe(self) -> Any:
        return {"place": np.zeros(2, np.float32), "attempt": self.time // ATTEMPT}


class SeedsItself(Walk):
    """Has a default seed."""

    def reset(self, *, seed: Any = 0, options: Any = None) -> Any:
        return super().reset(seed=seed)


class GrowsWider(Walk):
    """Changes the dtype of an observation after some steps."""

    def observe(self) -> Any:
        obs = super().observe()
        return obs if self.time < LATE else obs | {"place": obs["place"].astype(np.float64)}


class LeavesItsSpace(Walk):
    """Leaves its observation space after some steps."""

    def observe(self) -> Any:
        obs = super().observe()
        return obs if self.time < LATE else obs | {"place": obs["place"] + 2}


class LosesItsPlace(Walk):
    """Lacks a key after some steps."""

    def observe(self) -> Any:
        obs = super().observe()
        return obs if self.time < LATE else {"attempt": obs["attempt"]}


class CountsInFloats(Walk):
    """Returns a float as an index."""

    def observe(self) -> Any:
        obs = super().observe()
        return obs if self.time < LATE else obs | {"attempt": float(obs["attempt"])}


class SeesForever(Walk):
    """Returns infinity in an unbounded space."""

    observation_space = spaces.Dict(
        {"place": spaces.Box(-np.inf, np.inf, (2,), np.float32), "attempt": spaces.Discrete(3)}
    )

    def observe(self) -> Any:
        obs = super().observe()
        return obs if self.time < LATE else obs | {"place": np.full(2, np.inf, np.float32)}


class LosesCount(Endless):
    """Returns a tuple that is too short."""

    def observe(self) -> Any:
        obs = super().observe()
        return obs if self.time < LATE else ("a",)


class LeavesItsSpaceLate(Walk):
    """Leaves its observation space late: its clock exceeds 1 in the second half of the trajectory."""

    horizon = 200
    observation_space = spaces.Dict(
        {**Walk.observation_space.spaces, "attempt": spaces.Discrete(1 + horizon // ATTEMPT)}
        | {"clock": spaces.Box(0, 1, (1,), np.float32)}
    )

    def step(self, action: Any) -> Any:
        obs, reward, _, *others = super().step(action)
        return obs, reward, self.time == self.horizon, *others

    def observe(self) -> Any:
        return super().observe() | {"clock": np.array([self.time / 100], np.float32)}


class PaysNothingKnown(Walk):
    """Returns a nan reward."""

    def pay(self) -> Any:
        return super().pay() if self.time < LATE else np.nan


class PaysInArrays(Walk):
    """Returns the reward as an array."""

    def pay(self) -> Any:
        return super().pay() if self.time < LATE else np.array([1.0])


class EndsWithOne(Walk):
    """Returns ``terminated`` as an integer."""

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, int(terminated) if terminated else False, truncated, info


class TellsNothing(Walk):
    """Returns None as info."""

    horizon = None

    def step(self, action: Any) -> Any:
        *others, info = super().step(action)
        return *others, info if self.time < LATE else None


class FearsTheEdge(ByForce):
    """Raises on actions at the bounds."""

    def move(self, action: Any) -> float:
        if abs(action[0]) >= 2:
            raise ValueError("too hard")
        return super().move(action)


class ClipsInPlace(ByForce):
    """Clips the action in place."""

    def move(self, action: Any) -> float:
        np.clip(action, -1, 1, out=action)
        return super().move(action)


class ReturnsFour(Walk):
    """Returns four values from ``step``, as gym once did."""

    def step(self, action: Any) -> Any:
        obs, reward, terminated, _, info = super().step(action)
        return (obs, reward, terminated, False, info) if self.time < LATE else (1, 2, 3, 4)


class NumbersItsEnvironments(Walk):
    """The second environment has other rewards than the first."""

    made = 0

    def make(self) -> Any:
        self.made += 1
        env = super().make()
        env.number = self.made
        return env

    def pay(self) -> Any:
        return super().pay() * self.number


class RemembersItsPast(Walk):
    """Has rewards that depend on earlier trajectories."""

    ended = 0

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        self.ended += terminated
        return obs, reward + self.ended, terminated, truncated, info


class SharesItsPlace(Walk):
    """Shares its position between environments."""

    shared = {"place": 0.0}

    @property
    def place(self) -> float:
        return self.shared["place"]

    @place.setter
    def place(self, value: float) -> None:
        self.shared["place"] = value


class ForgetsToRewind(Walk):
    """Does not reset its clock after an unfinished trajectory."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        before = getattr(self, "time", HORIZON)
        obs, info = super().reset(seed=seed)
        self.time = before % HORIZON
        return obs, info


class DrawsFromNowhere(Walk):
    """Draws the task of a reset without a seed from fresh entropy."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        obs, info = super().reset(seed=seed)
        if seed is None:
            self.target = int(np.random.default_rng().integers(2**31))
        return obs, info


class RepeatsItsTask(Walk):
    """Repeats the first task after resets without a seed."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.first = getattr(self, "first", 0) if seed is None else seed
        return super().reset(seed=self.first)


class DrawsGlobally(Walk):
    """Draws from numpy's global generator."""

    def pay(self) -> Any:
        return super().pay() if self.time < LATE else random.random()


class SeedsGlobally(Walk):
    """Seeds numpy's global generator."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        np.random.seed(0)  # noqa: NPY002
        return super().reset(seed=seed)


class ReusesItsBuffer(Walk):
    """Returns the same array at every step."""

    def observe(self) -> Any:
        obs = super().observe()
        if self.time < LATE:
            self.buffer = np.zeros(2, np.float32)
            return obs
        self.buffer[:] = obs["place"]
        return obs | {"place": self.buffer}


class HandsOutItself(Walk):
    """Returns its own array, but never modifies it: obeys every law."""

    def observe(self) -> Any:
        obs = super().observe()
        self.seen = obs["place"]
        return obs

    def pay(self) -> Any:
        return super().pay() + float(self.seen[1])


class Overstays(Walk):
    """Is one step longer than its horizon."""

    horizon = HORIZON - 1


class HasAnUnclearHorizon(Walk):
    """Has a horizon that is not an int."""

    horizon = float(HORIZON)


class CountsFromOne(Walk):
    """Counts attempts from 1."""

    def outcome(self, attempt: int) -> dict[str, Any]:
        return super().outcome(attempt + 1)


class HidesItsOutcome(Walk):
    """Ends an attempt without ``success``."""

    def outcome(self, attempt: int) -> dict[str, Any]:
        return {"attempt": attempt}


class WinsNothingKnown(Walk):
    """Has a nan ``success``."""

    def outcome(self, attempt: int) -> dict[str, Any]:
        return {"attempt": attempt, "success": np.nan}


class CannotBeClosed(Walk):
    """Raises in ``close``."""

    def close(self) -> None:
        raise RuntimeError("the window is gone")


class Keeper(Walk):
    """Records its position, as float64, and its clock: obeys every law."""

    recorded_space: Any = spaces.Dict(
        spot=spaces.Box(-1, 1, (2,), np.float64), clock=spaces.Discrete(HORIZON + 1)
    )

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        obs, info = super().reset(seed=seed)
        return obs, info | self.record(obs)

    def step(self, action: Any) -> Any:
        obs, *others, info = super().step(action)
        return obs, *others, info | self.record(obs)

    def record(self, obs: Any) -> dict[str, Any]:
        return {"spot": obs["place"].astype(np.float64), "clock": self.time}


class DeclaresNoSpace(Keeper):
    """Has a ``recorded_space`` that is not a Dict."""

    recorded_space = spaces.Discrete(3)


class StumblesOverItsSpace(Keeper):
    """Raises in the property ``recorded_space``."""

    @property
    def recorded_space(self) -> Any:
        return self.forgotten


class RecordsItsReward(Keeper):
    """Records under a reserved name."""

    recorded_space = spaces.Dict({**Keeper.recorded_space.spaces, "reward": spaces.Discrete(3)})

    def record(self, obs: Any) -> dict[str, Any]:
        return super().record(obs) | {"reward": 0}


class ForgetsToRecord(Keeper):
    """Lacks the recorded key after some steps."""

    def record(self, obs: Any) -> dict[str, Any]:
        return super().record(obs) if self.time < LATE else {"clock": self.time}


class BeginsUnrecorded(Keeper):
    """Lacks the recorded key at reset."""

    def record(self, obs: Any) -> dict[str, Any]:
        return super().record(obs) if self.time else {}


class RecordsInSinglePrecision(Keeper):
    """Changes the dtype of a recorded value."""

    def record(self, obs: Any) -> dict[str, Any]:
        recorded = super().record(obs)
        return recorded if self.time < LATE else recorded | {"spot": obs["place"]}


class RecordsBeyondItsSpace(Keeper):
    """Leaves its ``recorded_space``."""

    def record(self, obs: Any) -> dict[str, Any]:
        return super().record(obs) | {"clock": HORIZON + self.time}


class RecordsItsPast(Keeper):
    """Records a value that depends on earlier trajectories."""

    begun = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.begun += 1
        return super().reset(seed=seed)

    def record(self, obs: Any) -> dict[str, Any]:
        return super().record(obs) | {"clock": self.begun % HORIZON}


class Seeker(Walk):
    """Two cells of a line to visit in order, from a hidden start: obeys every law."""

    CELLS = 6

    observation_space = spaces.Dict(
        {
            "cell": spaces.Box(0, CELLS - 1, (1,), np.float32),
            "goals": spaces.Box(-1, CELLS - 1, (2, 1), np.int64),
        }
    )
    recorded_space: Any = spaces.Dict(achieved=spaces.Box(0, CELLS - 1, (1,), np.int64))
    asked_for: Any = None

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        gymnasium.Env.reset(self, seed=seed)
        self.asked_for = (options or {}).get("goals")
        self.time, self.cell, self.left = 0, self.draw_cell(), self.draw_goals()
        return self.observe(), self.record()

    def draw_cell(self) -> int:
        return int(self.np_random.integers(self.CELLS))

    def draw_goals(self) -> list[int]:
        drawn = self.np_random.integers(self.CELLS, size=2)
        goals = drawn if self.asked_for is None else self.asked_for[:, 0]
        return [int(goal) for goal in goals if goal != -1]

    def step(self, action: Any) -> Any:
        self.time += 1
        self.cell = min(max(self.cell + int(action) - 1, 0), self.CELLS - 1)
        reached = self.left[:1] == [self.cell]
        self.left = self.left[reached:]
        over = not self.left
        late = not over and self.time == self.horizon
        return self.observe(), self.paid(reached), over, late, self.record()

    def paid(self, reached: bool) -> float:
        return float(reached)

    def observe(self) -> Any:
        goals = np.full((2, 1), -1, np.int64)
        if self.left:
            goals[-len(self.left) :, 0] = self.left
        return {"cell": np.array([self.cell], np.float32), "goals": goals}

    def record(self) -> dict[str, Any]:
        return {"achieved": np.array([self.cell])}

    def with_goals(self, columns: Any, goals: Any) -> Any:
        return with_goals(columns, goals)


class HearsOfNoGoals(Seeker):
    """Ignores the goals given to ``reset``."""

    def draw_goals(self) -> list[int]:
        self.asked_for = None
        return super().draw_goals()


class BeginsElsewhereForOtherGoals(Seeker):
    """Draws no goals if they are given, so that the hidden start is another random number."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        gymnasium.Env.reset(self, seed=seed)
        if not options:
            self.np_random.integers(self.CELLS, size=2)
        return super().reset(options=options)


class PaysInHindsight(Seeker):
    """Computes wrong rewards in ``with_goals``."""

    def with_goals(self, columns: Any, goals: Any) -> Any:
        found = super().with_goals(columns, goals)
        return found | {"reward": found["reward"] * 2}


class GoesOnInHindsight(Seeker):
    """Does not end the trajectory where its last goal is reached."""

    def with_goals(self, columns: Any, goals: Any) -> Any:
        return dict(columns) | {"obs.goals": columns["obs.goals"].copy()}


class StaysOverInHindsight(Seeker):
    """Keeps ``terminated`` where the new goals are not reached."""

    def with_goals(self, columns: Any, goals: Any) -> Any:
        found = super().with_goals(columns, goals)
        if len(found["reward"]) == len(columns["reward"]):
            found |= {name: columns[name] for name in ("terminated", "truncated")}
        return found


class ForgetsWhatItRecorded(Seeker):
    """Drops a column in ``with_goals``."""

    def with_goals(self, columns: Any, goals: Any) -> Any:
        found = super().with_goals(columns, goals)
        del found["achieved"]
        return found


class WritesToItsColumns(Seeker):
    """Modifies the columns in ``with_goals``."""

    def with_goals(self, columns: Any, goals: Any) -> Any:
        columns["reward"][:] = 0
        return super().with_goals(columns, goals)


class WritesToItsGoals(Seeker):
    """Modifies the goals in ``with_goals``."""

    def with_goals(self, columns: Any, goals: Any) -> Any:
        found = super().with_goals(columns, goals)
        goals[:] = -1
        return found


class KnowsNoOtherGoals(Seeker):
    """Raises in ``with_goals``."""

    def with_goals(self, columns: Any, goals: Any) -> Any:
        raise NotImplementedError("later")


class KnowsNoOtherGoalsForLong(KnowsNoOtherGoals):
    """Raises in ``with_goals``; its rollouts reach no goal within 1,000 steps."""

    horizon = 1001

    def step(self, action: Any) -> Any:
        return super().step(1)


class HasOtherGoals(Walk):
    """Has ``with_goals`` for goals of another form, which laws skip: obeys every law."""

    def with_goals(self, columns: Any, goals: Any) -> Any:
        raise AssertionError("asked for goals that it does not know")


class KeepsNoRecord(Seeker):
    """Has ``with_goals``, but does not record ``achieved``."""

    recorded_space = None


class PaysMoreWhenAsked(Seeker):
    """Gives other rewards if goals are given to ``reset``."""

    def paid(self, reached: bool) -> float:
        return super().paid(reached) * (1 if self.asked_for is None else 3)

    def with_goals(self, columns: Any, goals: Any) -> Any:
        found = super().with_goals(columns, goals)
        return found | {"reward": found["reward"] * 3}

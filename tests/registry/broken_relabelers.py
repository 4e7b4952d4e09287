"""Correct relabelers, small enough to read, and ways of breaking each law."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from amago_registry import Options, RelabelerContext


class NoOptions(Options):
    """No options."""


class Keeps:
    """Returns the trajectory itself: obeys every law."""

    identity: Any = True

    def __init__(self, context: RelabelerContext, options: NoOptions) -> None:
        pass

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        return trajectory


class Hindsight(Keeps):
    """The cell of a random timestep becomes the only goal, unless the return falls: obeys every law."""

    identity = False

    def __init__(self, context: RelabelerContext, options: NoOptions) -> None:
        assert context.with_goals is not None
        self.with_goals = context.with_goals

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        if trajectory["reward"].sum() > 1:
            return trajectory
        time = self.choose(rng, len(trajectory["reward"]))
        columns = self.with_goals(trajectory, trajectory["achieved"][[time]])
        return self.finish(dict(columns), trajectory)

    def choose(self, rng: np.random.Generator, length: int) -> int:
        return int(rng.integers(1, length + 1))

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns


class Shortens(Keeps):
    """Cuts what follows the last reward, but keeps three transitions: obeys every law."""

    identity = False

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        most = len(trajectory["reward"])
        paid = trajectory["reward"].nonzero()[0].tolist()
        end = min(max([2, *paid]) + 1, most)
        columns = {name: column[: end + len(column) - most] for name, column in trajectory.items()}
        if end < most:
            columns["truncated"] = np.arange(end) == end - 1
        return self.finish(columns)

    def finish(self, columns: Any) -> Any:
        return columns


class CannotSay(Keeps):
    """Has None as ``identity``."""

    identity = None


class CannotBeCalled(Keeps):
    """Is not callable."""

    __call__: Any = None


class SaysOne(Keeps):
    """Has an integer as ``identity``."""

    identity = 1


class NeedsAnotherColumn(Keeps):
    """Needs a column that the laws' trajectories lack."""

    identity = False

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        assert trajectory["weather"].any()
        return trajectory


class ReturnsNothing(Keeps):
    """Returns None."""

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        return None


class WritesToItsArgument(Hindsight):
    """Modifies its argument."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        trajectory["reward"][:] = 1
        return columns


class WritesWhatIsThere(Hindsight):
    """Writes equal values to its argument, which fails for read-only arrays."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        columns["achieved"][-1] = trajectory["achieved"][len(columns["achieved"]) - 1]
        return columns


class AddsToItsArgument(Hindsight):
    """Adds a column to its argument."""

    def finish(self, columns: Any, trajectory: Any) -> Any:
        trajectory["note"] = np.zeros(1)
        return columns


class ClaimsToKeep(Hindsight):
    """Has a true ``identity``, but changes the trajectory."""

    identity = True


class DropsAColumn(Hindsight):
    """Drops a column."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return {name: column for name, column in columns.items() if name != "achieved"}


class Widens(Hindsight):
    """Returns rewards of another dtype."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns | {"reward": columns["reward"].astype(np.float64)}


class ForgetsTheLastTimestep(Shortens):
    """Drops the last timestep."""

    def finish(self, columns: Any) -> Any:
        return columns | {"obs.obs": columns["obs.obs"][:-1]}


class LeavesNothing(Shortens):
    """Returns no transition if there was no reward."""

    def finish(self, columns: Any) -> Any:
        length = 0 if columns["reward"].any() else len(columns["reward"])
        return {name: column[: len(column) - length] for name, column in columns.items()}


class CutsTheBeginning(Shortens):
    """Cuts the beginning, so that times would be wrong."""

    def finish(self, columns: Any) -> Any:
        if len(columns["reward"]) < 2:
            return columns
        return {name: column[1:] for name, column in columns.items()}


class TurnsAround(Shortens):
    """Inverts the actions."""

    def finish(self, columns: Any) -> Any:
        return columns | {"action": 1 - columns["action"]}


class EditsTheAnswer(Hindsight):
    """Modifies observations."""

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        columns = self.with_goals(trajectory, trajectory["achieved"][[1]])
        columns["reward"][-1] += 7
        return columns


class MovesWhatWasSeen(Hindsight):
    """Changes observations where a goal changes."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns | {"obs.obs": -columns["obs.obs"]}


class GoesOn(Shortens):
    """Is terminated before the last transition."""

    def finish(self, columns: Any) -> Any:
        cut = len(columns["reward"]) == 3
        return columns | {"terminated": columns["terminated"] | cut}


class CutsWithoutAnEnd(Shortens):
    """Cuts the trajectory without an end flag."""

    def finish(self, columns: Any) -> Any:
        cut = len(columns["reward"]) == 3
        return columns | {"truncated": columns["truncated"] & (not cut)}


class PaysOneLate(Hindsight):
    """Shifts rewards by one transition."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns | {"reward": np.roll(columns["reward"], 1)}


class AsksForNothing(Hindsight):
    """Makes all goals absent."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns | {"obs.goals": np.full_like(columns["obs.goals"], -1)}


class KeepsTheReward(Hindsight):
    """Keeps the rewards of goals that are replaced."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns | {"reward": trajectory["reward"][: len(columns["reward"])].copy()}


class KeepsTheFirstInstruction(Hindsight):
    """Keeps the old goals in the first timestep."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        columns["obs.goals"][0] = trajectory["obs.goals"][0]
        return columns


class KeepsTheInstruction(Hindsight):
    """Keeps the old goals in every timestep."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns | {"obs.goals": trajectory["obs.goals"][: len(columns["obs.goals"])].copy()}


class PaysAlways(Keeps):
    """Sets every reward to 1."""

    identity = False

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        return self.change(dict(trajectory))

    def change(self, columns: Any) -> Any:
        return columns | {"reward": np.ones_like(columns["reward"])}


class NeverWaits(PaysAlways):
    """Turns truncation into termination."""

    def change(self, columns: Any) -> Any:
        over = columns["truncated"] | columns["terminated"]
        return columns | {"terminated": over, "truncated": np.zeros_like(over)}


class RemembersBackwards(PaysAlways):
    """Reverses what was achieved."""

    def change(self, columns: Any) -> Any:
        return columns | {"achieved": columns["achieved"][::-1]}


class AsksForMore(Hindsight):
    """Chooses a goal that was not reached, and loses reward."""

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        return self.with_goals(trajectory, np.array([[9]]))


class DividesByNothing(Shortens):
    """Returns nan rewards."""

    def finish(self, columns: Any) -> Any:
        return columns | {"reward": columns["reward"] + np.float32(np.nan)}


class DrawsGlobally(Hindsight):
    """Draws from numpy's global generator."""

    def choose(self, rng: np.random.Generator, length: int) -> int:
        return int(np.random.randint(1, length + 1))  # noqa: NPY002


class SeedsGlobally(Hindsight):
    """Seeds numpy's global generator."""

    def choose(self, rng: np.random.Generator, length: int) -> int:
        random.seed(0)
        return super().choose(rng, length)


class DrawsFromNowhere(Hindsight):
    """Draws from fresh entropy."""

    def choose(self, rng: np.random.Generator, length: int) -> int:
        return int(np.random.default_rng().integers(1, length + 1))


class TakesTurns(Hindsight):
    """Depends on earlier calls."""

    calls = 0

    def choose(self, rng: np.random.Generator, length: int) -> int:
        self.calls += 1
        return 1 + self.calls % 7 % length

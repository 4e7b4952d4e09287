"""Honest relabelers, small enough to read, and ways of breaking each law."""

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
    """The cell of a random timestep becomes the only goal, if that is no less: obeys every law."""

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
    """What follows the last reward is left out, but three transitions stay: obeys every law."""

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
    """Nobody knows whether slices are enough."""

    identity = None


class CannotBeCalled(Keeps):
    """No relabeler."""

    __call__: Any = None


class SaysOne(Keeps):
    """A number for a bool."""

    identity = 1


class NeedsAnotherColumn(Keeps):
    """Not what the laws have, unless they are given it."""

    identity = False

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        assert trajectory["weather"].any()
        return trajectory


class ReturnsNothing(Keeps):
    """It forgot."""

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        return None


class WritesToItsArgument(Hindsight):
    """The next one to relabel it sees another trajectory."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        trajectory["reward"][:] = 1
        return columns


class WritesWhatIsThere(Hindsight):
    """Nothing changes, and the replay allows no writing all the same."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        columns["achieved"][-1] = trajectory["achieved"][len(columns["achieved"]) - 1]
        return columns


class AddsToItsArgument(Hindsight):
    """The mapping changes, the arrays do not."""

    def finish(self, columns: Any, trajectory: Any) -> Any:
        trajectory["note"] = np.zeros(1)
        return columns


class ClaimsToKeep(Hindsight):
    """Only slices would be read."""

    identity = True


class DropsAColumn(Hindsight):
    """One less."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return {name: column for name, column in columns.items() if name != "achieved"}


class Widens(Hindsight):
    """Rewards of another type than those of other trajectories."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns | {"reward": columns["reward"].astype(np.float64)}


class ForgetsTheLastTimestep(Shortens):
    """Nothing left to bootstrap from."""

    def finish(self, columns: Any) -> Any:
        return columns | {"obs.obs": columns["obs.obs"][:-1]}


class LeavesNothing(Shortens):
    """No transition, where nothing was paid."""

    def finish(self, columns: Any) -> Any:
        length = 0 if columns["reward"].any() else len(columns["reward"])
        return {name: column[: len(column) - length] for name, column in columns.items()}


class CutsTheBeginning(Shortens):
    """Its time would be wrong."""

    def finish(self, columns: Any) -> Any:
        if len(columns["reward"]) < 2:
            return columns
        return {name: column[1:] for name, column in columns.items()}


class TurnsAround(Shortens):
    """Left for right."""

    def finish(self, columns: Any) -> Any:
        return columns | {"action": 1 - columns["action"]}


class EditsTheAnswer(Hindsight):
    """What the environment said is written over where it lies."""

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        columns = self.with_goals(trajectory, trajectory["achieved"][[1]])
        columns["reward"][-1] += 7
        return columns


class MovesWhatWasSeen(Hindsight):
    """As if goals changed where one is."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns | {"obs.obs": -columns["obs.obs"]}


class GoesOn(Shortens):
    """Past the end of the task."""

    def finish(self, columns: Any) -> Any:
        cut = len(columns["reward"]) == 3
        return columns | {"terminated": columns["terminated"] | cut}


class CutsWithoutAnEnd(Shortens):
    """Whoever learns from it waits for what follows, and nothing does."""

    def finish(self, columns: Any) -> Any:
        cut = len(columns["reward"]) == 3
        return columns | {"truncated": columns["truncated"] & (not cut)}


class PaysOneLate(Hindsight):
    """After the goal is reached, or at the beginning."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns | {"reward": np.roll(columns["reward"], 1)}


class AsksForNothing(Hindsight):
    """It had all been for nothing."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns | {"obs.goals": np.full_like(columns["obs.goals"], -1)}


class KeepsTheReward(Hindsight):
    """It pays for goals that are no longer shown."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns | {"reward": trajectory["reward"][: len(columns["reward"])].copy()}


class KeepsTheFirstInstruction(Hindsight):
    """At the first timestep, what had been asked for is still shown."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        columns["obs.goals"][0] = trajectory["obs.goals"][0]
        return columns


class KeepsTheInstruction(Hindsight):
    """It pays for goals that are never shown."""

    def finish(self, columns: Any, trajectory: Mapping[str, np.ndarray]) -> Any:
        return columns | {"obs.goals": trajectory["obs.goals"][: len(columns["obs.goals"])].copy()}


class PaysAlways(Keeps):
    """One for every step."""

    identity = False

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        return self.change(dict(trajectory))

    def change(self, columns: Any) -> Any:
        return columns | {"reward": np.ones_like(columns["reward"])}


class NeverWaits(PaysAlways):
    """Whoever ran out of time is told that there was nothing more to be had."""

    def change(self, columns: Any) -> Any:
        over = columns["truncated"] | columns["terminated"]
        return columns | {"terminated": over, "truncated": np.zeros_like(over)}


class RemembersBackwards(PaysAlways):
    """What was achieved last comes first."""

    def change(self, columns: Any) -> Any:
        return columns | {"achieved": columns["achieved"][::-1]}


class AsksForMore(Hindsight):
    """For a goal that was not met, where others had been."""

    def __call__(self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator) -> Any:
        return self.with_goals(trajectory, np.array([[9]]))


class DividesByNothing(Shortens):
    """A reward that no network learns from."""

    def finish(self, columns: Any) -> Any:
        return columns | {"reward": columns["reward"] + np.float32(np.nan)}


class DrawsGlobally(Hindsight):
    """Whoever draws elsewhere changes what is learned."""

    def choose(self, rng: np.random.Generator, length: int) -> int:
        return int(np.random.randint(1, length + 1))  # noqa: NPY002


class SeedsGlobally(Hindsight):
    """Everybody else's numbers begin again."""

    def choose(self, rng: np.random.Generator, length: int) -> int:
        random.seed(0)
        return super().choose(rng, length)


class DrawsFromNowhere(Hindsight):
    """Never twice the same."""

    def choose(self, rng: np.random.Generator, length: int) -> int:
        return int(np.random.default_rng().integers(1, length + 1))


class TakesTurns(Hindsight):
    """Every call another place."""

    calls = 0

    def choose(self, rng: np.random.Generator, length: int) -> int:
        self.calls += 1
        return 1 + self.calls % 7 % length

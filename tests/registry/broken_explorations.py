"""Honest explorations, small enough to read, and ways of breaking each law.

Shape suffixes: B = environments acting side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from amago_registry import AmagoError, ExplorationContext, Options, UnsupportedSpaceError


class NoOptions(Options):
    """No options."""


class Restless:
    """Half of the environments, other ones in every task, do what the policy did elsewhere.

    Obeys every law, as it knows no masks.
    """

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        self.space = context.action_space
        self.bold_B = np.zeros(context.environments, bool)

    def __call__(self, action: np.ndarray, time_B: Any, step: int, rng: Any) -> np.ndarray:
        drawn_B = self.draw(rng, len(action))
        self.bold_B = np.where(time_B == 0, drawn_B < 0.5, self.bold_B)
        return self.explore(action, rng)

    def draw(self, rng: Any, count: int) -> np.ndarray:
        return rng.random(count)

    def explore(self, action: np.ndarray, rng: Any) -> np.ndarray:
        explored = action.copy()
        explored[self.bold_B] = rng.permutation(action)[self.bold_B]
        return explored

    def state(self) -> Any:
        return {"bold": self.bold_B.copy()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self.bold_B = state["bold"].copy()


class Follower(Restless):
    """Does what the policy does, and takes a mask: obeys every law."""

    def __call__(
        self, action: np.ndarray, time_B: Any, step: int, rng: Any, action_mask_BA: Any = None
    ) -> np.ndarray:
        return action

    def state(self) -> Any:
        return {}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        pass


class Specialist(Restless):
    """What it refuses is not asked of it."""

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        super().__init__(context, options)
        if not isinstance(context.action_space, spaces.Box):
            raise UnsupportedSpaceError("there is nothing to turn.")


class RefusesEverything(Restless):
    """Nobody can say whether it obeys."""

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        raise UnsupportedSpaceError("no.")


class CannotBeStored(Restless):
    """It lacks what checkpoints need."""

    load_state: Any = None


class NeedsFive(Restless):
    """As many numbers as its author had environments."""

    def draw(self, rng: Any, count: int) -> np.ndarray:
        return rng.random(5)


class NeedsAHorizon(Restless):
    """It finds out too late that nobody told it."""

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.horizon: Any = context.horizon

    def __call__(self, action: np.ndarray, time_B: Any, step: int, rng: Any) -> np.ndarray:
        rng.normal(scale=abs(1 - time_B / self.horizon))
        return super().__call__(action, time_B, step, rng)


class AsksForAHorizon(Restless):
    """It says so: obeys every law."""

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        super().__init__(context, options)
        if context.horizon is None:
            raise AmagoError("it must know the horizon.")


class TurnsNegativeWithTime(Restless):
    """Its noise falls below 0 when a trajectory outlasts the horizon."""

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.horizon = context.horizon or 10**9

    def __call__(self, action: np.ndarray, time_B: Any, step: int, rng: Any) -> np.ndarray:
        rng.normal(scale=1 - time_B / self.horizon)
        return super().__call__(action, time_B, step, rng)


class TurnsNegativeWithSteps(Restless):
    """Its noise falls below 0 when its schedule is over."""

    def __call__(self, action: np.ndarray, time_B: Any, step: int, rng: Any) -> np.ndarray:
        rng.normal(scale=1 - step / 1_000)
        return super().__call__(action, time_B, step, rng)


class OvershootsInTheEnd(Restless):
    """Too loud for the space when its schedule is over."""

    def __call__(self, action: np.ndarray, time_B: Any, step: int, rng: Any) -> np.ndarray:
        explored = super().__call__(action, time_B, step, rng)
        return explored + np.ones_like(action) if step > 1_000 else explored


class Overshoots(Restless):
    """Louder than the space allows."""

    def explore(self, action: np.ndarray, rng: Any) -> np.ndarray:
        return action + np.ones_like(action)


class ChangesTheType(Restless):
    """Single precision becomes double."""

    def explore(self, action: np.ndarray, rng: Any) -> np.ndarray:
        return super().explore(action, rng).astype(np.float64)


class ReturnsLists(Restless):
    """Not what was passed."""

    def explore(self, action: np.ndarray, rng: Any) -> Any:
        return super().explore(action, rng).tolist()


class IgnoresTheMask(Restless):
    """Takes a mask, and does as it likes."""

    def __call__(
        self, action: np.ndarray, time_B: Any, step: int, rng: Any, action_mask_BA: Any = None
    ) -> np.ndarray:
        return super().__call__(action, time_B, step, rng)


class WritesToTheAction(Restless):
    """The policy's action is gone."""

    def explore(self, action: np.ndarray, rng: Any) -> np.ndarray:
        action[:] = super().explore(action, rng)
        return action


class WritesToTheMask(Follower):
    """What it did not take it forbids."""

    def __call__(
        self, action: np.ndarray, time_B: Any, step: int, rng: Any, action_mask_BA: Any = None
    ) -> np.ndarray:
        if action_mask_BA is not None:
            action_mask_BA[~action_mask_BA.any(1)] = True
        return action


class DrawsGlobally(Restless):
    """Whoever draws elsewhere changes what is done."""

    def draw(self, rng: Any, count: int) -> np.ndarray:
        return np.random.random(count)  # noqa: NPY002


class SeedsGlobally(Restless):
    """Everybody else's numbers begin again."""

    def draw(self, rng: Any, count: int) -> np.ndarray:
        np.random.seed(0)  # noqa: NPY002
        return super().draw(rng, count)


class DrawsFromNowhere(Restless):
    """Never twice the same."""

    def draw(self, rng: Any, count: int) -> np.ndarray:
        return np.random.default_rng().random(count)


class KeepsAList(Restless):
    """No array."""

    def state(self) -> Any:
        return {"bold": self.bold_B.tolist()}

    def load_state(self, state: Any) -> None:
        self.bold_B = np.array(state["bold"])


class KeepsAnArray(Restless):
    """No dictionary."""

    def state(self) -> Any:
        return self.bold_B.copy()

    def load_state(self, state: Any) -> None:
        self.bold_B = state.copy()


class ForgetsWhoIsBold(Restless):
    """After a crash others are."""

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        pass


class HasItsOwnGenerator(Restless):
    """Which is not stored."""

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.own = np.random.default_rng(0)

    def draw(self, rng: Any, count: int) -> np.ndarray:
        return self.own.random(count)


class HandsOutItsState(Restless):
    """A checkpoint that changes while it is written."""

    def explore(self, action: np.ndarray, rng: Any) -> np.ndarray:
        before_B = self.kept_B = getattr(self, "kept_B", self.bold_B)
        before_B[:] = self.bold_B
        return super().explore(action, rng)

    def state(self) -> Any:
        self.kept_B = self.bold_B
        return {"bold": self.kept_B}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self.bold_B = self.kept_B = state["bold"].copy()


class KeepsWhatItLoads(HandsOutItsState):
    """A checkpoint that changes when a run goes on from it."""

    def state(self) -> Any:
        return {"bold": self.bold_B.copy()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self.bold_B = self.kept_B = state["bold"]

"""Correct explorations, small enough to read, and ways of breaking each law.

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
    """Supports only some spaces: obeys every law."""

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        super().__init__(context, options)
        if not isinstance(context.action_space, spaces.Box):
            raise UnsupportedSpaceError("there is nothing to turn.")


class RefusesEverything(Restless):
    """Supports no space."""

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        raise UnsupportedSpaceError("no.")


class CannotBeStored(Restless):
    """Lacks ``state`` and ``load_state``."""

    load_state: Any = None


class NeedsFive(Restless):
    """Works only with five environments."""

    def draw(self, rng: Any, count: int) -> np.ndarray:
        return rng.random(5)


class NeedsAHorizon(Restless):
    """Fails without a horizon at the first step."""

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.horizon: Any = context.horizon

    def __call__(self, action: np.ndarray, time_B: Any, step: int, rng: Any) -> np.ndarray:
        rng.normal(scale=abs(1 - time_B / self.horizon))
        return super().__call__(action, time_B, step, rng)


class AsksForAHorizon(Restless):
    """Raises an AmagoError without a horizon when it is built: obeys every law."""

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        super().__init__(context, options)
        if context.horizon is None:
            raise AmagoError("it must know the horizon.")


class TurnsNegativeWithTime(Restless):
    """Has a negative noise scale beyond the horizon."""

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.horizon = context.horizon or 10**9

    def __call__(self, action: np.ndarray, time_B: Any, step: int, rng: Any) -> np.ndarray:
        rng.normal(scale=1 - time_B / self.horizon)
        return super().__call__(action, time_B, step, rng)


class TurnsNegativeWithSteps(Restless):
    """Has a negative noise scale after the schedule."""

    def __call__(self, action: np.ndarray, time_B: Any, step: int, rng: Any) -> np.ndarray:
        rng.normal(scale=1 - step / 1_000)
        return super().__call__(action, time_B, step, rng)


class OvershootsInTheEnd(Restless):
    """Leaves the space after the schedule."""

    def __call__(self, action: np.ndarray, time_B: Any, step: int, rng: Any) -> np.ndarray:
        explored = super().__call__(action, time_B, step, rng)
        return explored + np.ones_like(action) if step > 1_000 else explored


class Overshoots(Restless):
    """Leaves the space."""

    def explore(self, action: np.ndarray, rng: Any) -> np.ndarray:
        return action + np.ones_like(action)


class ChangesTheType(Restless):
    """Returns float64 instead of the dtype of the argument."""

    def explore(self, action: np.ndarray, rng: Any) -> np.ndarray:
        return super().explore(action, rng).astype(np.float64)


class ReturnsLists(Restless):
    """Returns a list."""

    def explore(self, action: np.ndarray, rng: Any) -> Any:
        return super().explore(action, rng).tolist()


class IgnoresTheMask(Restless):
    """Accepts a mask and ignores it."""

    def __call__(
        self, action: np.ndarray, time_B: Any, step: int, rng: Any, action_mask_BA: Any = None
    ) -> np.ndarray:
        return super().__call__(action, time_B, step, rng)


class WritesToTheAction(Restless):
    """Modifies the policy's action in place."""

    def explore(self, action: np.ndarray, rng: Any) -> np.ndarray:
        action[:] = super().explore(action, rng)
        return action


class WritesToTheMask(Follower):
    """Modifies the mask in place."""

    def __call__(
        self, action: np.ndarray, time_B: Any, step: int, rng: Any, action_mask_BA: Any = None
    ) -> np.ndarray:
        if action_mask_BA is not None:
            action_mask_BA[~action_mask_BA.any(1)] = True
        return action


class DrawsGlobally(Restless):
    """Draws from numpy's global generator."""

    def draw(self, rng: Any, count: int) -> np.ndarray:
        return np.random.random(count)  # noqa: NPY002


class SeedsGlobally(Restless):
    """Seeds numpy's global generator."""

    def draw(self, rng: Any, count: int) -> np.ndarray:
        np.random.seed(0)  # noqa: NPY002
        return super().draw(rng, count)


class DrawsFromNowhere(Restless):
    """Draws from fresh entropy."""

    def draw(self, rng: Any, count: int) -> np.ndarray:
        return np.random.default_rng().random(count)


class KeepsAList(Restless):
    """Has a list in its state."""

    def state(self) -> Any:
        return {"bold": self.bold_B.tolist()}

    def load_state(self, state: Any) -> None:
        self.bold_B = np.array(state["bold"])


class KeepsAnArray(Restless):
    """Returns an array as its state."""

    def state(self) -> Any:
        return self.bold_B.copy()

    def load_state(self, state: Any) -> None:
        self.bold_B = state.copy()


class ForgetsWhoIsBold(Restless):
    """Does not store which environments explore."""

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        pass


class HasItsOwnGenerator(Restless):
    """Has its own generator, which is not stored."""

    def __init__(self, context: ExplorationContext, options: NoOptions) -> None:
        super().__init__(context, options)
        self.own = np.random.default_rng(0)

    def draw(self, rng: Any, count: int) -> np.ndarray:
        return self.own.random(count)


class HandsOutItsState(Restless):
    """Returns its own state, which later calls modify."""

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
    """Keeps the loaded state, which later calls modify."""

    def state(self) -> Any:
        return {"bold": self.bold_B.copy()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self.bold_B = self.kept_B = state["bold"]

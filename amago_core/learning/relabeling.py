"""Hindsight relabeling: build relabelers, with the environment's ``with_goals`` as a goal oracle.

They work in this process and in loader processes. Numpy alone: loader processes import this.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import getattr_static
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from amago_core.errors import LoaderError, part_errors
from amago_core.learning.checked_parts import CheckedRelabeler, TrajectoryChecker, missing_column_errors
from amago_registry.contexts import RelabelerContext
from amago_registry.errors import AmagoError, reason
from amago_registry.goals import ACHIEVED, GOALS, present

if TYPE_CHECKING:
    from amago_core.acting.task import Task
    from amago_registry.options import Part
    from amago_registry.protocols import Relabeler


WithGoals: TypeAlias = "Callable[[Mapping[str, np.ndarray], Any], Mapping[str, np.ndarray]]"


@dataclass(frozen=True)
class GoalOracle:
    """The environment's ``with_goals``: what a trajectory would have been under other goals.

    Its errors name the environment. It can be pickled even if the function is defined in a user's
    script.

    Args:
        environment: Name of the environment.
        with_goals: See :class:`amago_registry.protocols.Environment`.
    """

    environment: str
    with_goals: WithGoals

    def __call__(
        self, columns: Mapping[str, np.ndarray], goals: Any, *, checker: TrajectoryChecker
    ) -> Mapping[str, np.ndarray]:
        """Return the columns under other goals, checked.

        Raises:
            AmagoError: If the environment raises, or what it returns cannot be trained on.
        """
        with part_errors("environment", self.environment, "with_goals"):
            name = f"with_goals of environment {self.environment}"
            with missing_column_errors(name):
                returned = self.with_goals(columns, goals)
            return checker.checked(returned, name)

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle

        try:
            # Never written to disk. It can pickle what plain pickle cannot, such as local functions.
            packed = cloudpickle.dumps(self.with_goals)
        except Exception as error:
            raise LoaderError(
                f"with_goals of environment {self.environment} cannot be sent to loader processes "
                f"({reason(error)}): let it hold only what can be pickled, or write "
                "sampling.loader=thread."
            ) from error
        return _unpickle_goal_oracle, (self.environment, packed)


CHECKED_TRAJECTORIES = 16
"""Number of sampled trajectories for which the goal oracle is checked against the recording."""


class GoalCheckedRelabeler:
    """A relabeler whose goal oracle is first checked against recorded trajectories.

    Called with a trajectory's original goals, ``with_goals`` must return the recording. That is checked
    for the first trajectories whose goals have the format of :mod:`amago_registry.goals`; other formats
    are not checked.

    Args:
        relabeler: The part.
        goal_oracle: The environment's ``with_goals``.
        checker: Checks the columns that ``with_goals`` returns.
    """

    def __init__(
        self, relabeler: Relabeler, goal_oracle: GoalOracle, checker: TrajectoryChecker
    ) -> None:
        self._relabeler, self._goal_oracle, self._checker = relabeler, goal_oracle, checker
        self.identity = relabeler.identity
        self._checks_left = iter(range(CHECKED_TRAJECTORIES))  # An iterator: shared by threads.

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        """Return the relabeled trajectory.

        Raises:
            AmagoError: If ``with_goals``, given the original goals, does not return the recording.
        """
        if next(self._checks_left, None) is not None and _has_goals(trajectory):
            self._check(trajectory)
        return self._relabeler(trajectory, rng)

    def _check(self, recorded: Mapping[str, np.ndarray]) -> None:
        returned = self._goal_oracle(recorded, recorded[GOALS][0], checker=self._checker)
        for name in recorded:
            wrong = _difference(name, returned, recorded) if name in returned else "missing"
            if wrong is not None:
                raise AmagoError(
                    f"with_goals of environment {self._goal_oracle.environment}, called with a "
                    f"trajectory's original goals, must return what was recorded, and its {name} is "
                    f"{wrong}. "
                    "Correct it, or write relabeler=none. amago_registry.goals.with_goals is for "
                    "environments that pay 1 for a goal and nothing else, and end with the last goal."
                )


def _has_goals(trajectory: Mapping[str, np.ndarray]) -> bool:
    """Return whether a trajectory has a goal, in the format of :mod:`amago_registry.goals`."""
    goals, achieved = trajectory.get(GOALS), trajectory.get(ACHIEVED)
    if goals is None or achieved is None or goals.ndim != 3 or goals.dtype.kind not in "iu":
        return False
    return goals.shape[-1] == achieved.shape[-1] and bool(present(goals[0]).any())


def _difference(
    name: str, returned: Mapping[str, np.ndarray], recorded: Mapping[str, np.ndarray]
) -> str | None:
    """Return how a returned column differs from the recorded one; None if only by rounding."""
    one, other = returned[name], recorded[name]
    if one.shape != other.shape:
        return f"{one.shape} instead of {other.shape}"
    if name == "truncated":  # Some environments also truncate at the step that terminates.
        one, other = (ends[name] & ~ends["terminated"] for ends in (returned, recorded))
    if np.array_equal(one, other):
        return None
    floats = other.dtype.kind == "f"
    wrong = np.argwhere(~np.isclose(one, other, rtol=1e-5, atol=1e-6) if floats else one != other)
    if not len(wrong):
        return None
    index = tuple(wrong[0].tolist())
    return f"{one[index].item()} instead of {other[index].item()} in row {index[0]}"


def _unpickle_goal_oracle(environment: str, packed: bytes) -> GoalOracle:
    try:
        # Not data from disk: the process that started this one sent it.
        return GoalOracle(environment, pickle.loads(packed))
    except Exception as error:
        raise LoaderError(
            f"loader processes cannot unpickle with_goals of environment {environment} "
            f"({reason(error)}): define it in a module that can be imported by its name, or write "
            "sampling.loader=thread."
        ) from error


def find_with_goals(make: Any) -> WithGoals | None:
    """Return the ``with_goals`` of an environment factory, or of the part whose method it is.

    If the factory is a class, only a static or class method counts: there is no instance yet.

    Args:
        make: The factory; None where there is no environment.
    """
    for owner in (make, getattr(make, "__self__", None)):
        with_goals = getattr(owner, "with_goals", None)
        if with_goals is not None and not _needs_instance(owner):
            found: WithGoals = with_goals
            return found
    return None


def goal_oracle_of(task: Task) -> GoalOracle | None:
    """Return the goal oracle of a task's environment; None where it has no ``with_goals``."""
    return None if task.with_goals is None else GoalOracle(task.name, task.with_goals)


def _needs_instance(owner: Any) -> bool:
    found = getattr_static(owner, "with_goals", None)
    return isinstance(owner, type) and not isinstance(found, staticmethod | classmethod)


def build_relabeler(
    part: Part[Any],
    checker: TrajectoryChecker,
    goal_oracle: GoalOracle | None = None,
    environment: str = "",
    columns: Mapping[str, tuple[int, ...]] | None = None,
) -> Relabeler:
    """Build a relabeler; errors of relabelers nested in it name the nested one.

    Args:
        part: The relabeler's component and options.
        checker: Checks relabeled trajectories.
        goal_oracle: The environment's ``with_goals``; None if it has none.
        environment: Name of the environment; empty where there is none.
        columns: Observed and recorded columns and their shape per timestep; None where not known.

    Raises:
        AmagoError: If it cannot be built.
    """

    def build_nested(inner: Part[Any], context: RelabelerContext) -> Relabeler:
        return CheckedRelabeler(_build(inner, context), inner.use, checker)

    with_goals = None if goal_oracle is None else partial(goal_oracle, checker=checker)
    context = RelabelerContext(
        with_goals=with_goals, environment=environment, columns=columns, build=build_nested
    )
    relabeler = _build(part, context)
    if goal_oracle is None:
        return relabeler
    with part_errors("relabeler", part.use, "asking whether it changes anything"):
        return GoalCheckedRelabeler(relabeler, goal_oracle, checker)


def _build(part: Part[Any], context: RelabelerContext) -> Relabeler:
    with part_errors("relabeler", part.use, "building it"):
        built: Relabeler = part.build(context)
        return built

"""Relabelers with what the environment offers them, in this process or in another.

Numpy alone, as all that loader processes import.
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
    """What an environment says that other goals would have led to; its errors name it.

    It can be pickled wherever the function comes from, such as from a user's script.

    Args:
        environment: What users call the environment.
        with_goals: See :class:`amago_registry.protocols.Environment`.
    """

    environment: str
    with_goals: WithGoals

    def __call__(
        self, columns: Mapping[str, np.ndarray], goals: Any, *, forms: TrajectoryChecker
    ) -> Mapping[str, np.ndarray]:
        """Return the columns under other goals.

        Raises:
            AmagoError: If the environment raises something, or nothing can learn from what it returns.
        """
        with part_errors("environment", self.environment, "with_goals"):
            who = f"with_goals of environment {self.environment}"
            with missing_column_errors(who):
                found = self.with_goals(columns, goals)
            return forms.checked(found, who)

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle

        try:
            # Never written to a disk. It packs what plain pickle cannot name, such as local functions.
            packed = cloudpickle.dumps(self.with_goals)
        except Exception as error:
            raise LoaderError(
                f"loader processes cannot be given with_goals of environment {self.environment} "
                f"({reason(error)}): keep in what it belongs to only what can be copied, or write "
                "sampling.loader=thread."
            ) from error
        return _received, (self.environment, packed)


CHECKED_TRAJECTORIES = 16
"""Trajectories, as they are drawn, with which an environment's word is tried."""


class GoalCheckedRelabeler:
    """A relabeler that asks an environment which is tried first with what was recorded there.

    Asked for the goals that a task had, it must return the recording. That is tried with the first
    trajectories that hold goals in the form of :mod:`amago_registry.goals`; of other forms nothing is
    known here.

    Args:
        relabeler: The part.
        goal_oracle: The environment's ``with_goals``.
        forms: Of what is learned from.
    """

    def __init__(self, relabeler: Relabeler, goal_oracle: GoalOracle, forms: TrajectoryChecker) -> None:
        self._relabeler, self._goal_oracle, self._forms = relabeler, goal_oracle, forms
        self.identity = relabeler.identity
        self._trials = iter(range(CHECKED_TRAJECTORIES))  # One each, however many threads take them.

    def __call__(
        self, trajectory: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        """Return what the relabeler makes of the trajectory.

        Raises:
            AmagoError: If the environment says of a recording what was not recorded.
        """
        if next(self._trials, None) is not None and _in_a_row(trajectory):
            self._try(trajectory)
        return self._relabeler(trajectory, rng)

    def _try(self, recorded: Mapping[str, np.ndarray]) -> None:
        said = self._goal_oracle(recorded, recorded[GOALS][0], forms=self._forms)
        for name in recorded:
            wrong = _difference(name, said, recorded) if name in said else "missing"
            if wrong is not None:
                raise AmagoError(
                    f"with_goals of environment {self._goal_oracle.environment}, asked for the goals "
                    f"that a trajectory had, must return what was recorded, and its {name} is {wrong}. "
                    "Correct it, or write relabeler=none. amago_registry.goals.with_goals is for "
                    "environments that pay 1 for a goal and nothing else, and end with the last goal."
                )


def _in_a_row(trajectory: Mapping[str, np.ndarray]) -> bool:
    """Return whether there is a goal to ask for, in the form that is known."""
    shown, achieved = trajectory.get(GOALS), trajectory.get(ACHIEVED)
    if shown is None or achieved is None or shown.ndim != 3 or shown.dtype.kind not in "iu":
        return False
    return shown.shape[-1] == achieved.shape[-1] and bool(present(shown[0]).any())


def _difference(
    name: str, said: Mapping[str, np.ndarray], recorded: Mapping[str, np.ndarray]
) -> str | None:
    """Return what is wrong with a column, None if nothing but its rounding."""
    one, other = said[name], recorded[name]
    if one.shape != other.shape:
        return f"{one.shape} instead of {other.shape}"
    if name == "truncated":  # Some environments say so of the step that terminates, too.
        one, other = (ends[name] & ~ends["terminated"] for ends in (said, recorded))
    if np.array_equal(one, other):
        return None
    floats = other.dtype.kind == "f"
    wrong = np.argwhere(~np.isclose(one, other, rtol=1e-5, atol=1e-6) if floats else one != other)
    if not len(wrong):
        return None
    index = tuple(wrong[0].tolist())
    return f"{one[index].item()} instead of {other[index].item()} in row {index[0]}"


def _received(environment: str, packed: bytes) -> GoalOracle:
    try:
        # Not data from a disk: a function of the program that started this process, from its memory.
        return GoalOracle(environment, pickle.loads(packed))
    except Exception as error:
        raise LoaderError(
            f"loader processes cannot receive with_goals of environment {environment} "
            f"({reason(error)}): define it in a module that can be imported by its name, or write "
            "sampling.loader=thread."
        ) from error


def find_with_goals(make: Any) -> WithGoals | None:
    """Return ``with_goals`` of what makes environments, or of the part whose method that is.

    Of a class, only a static or class method counts: there is no instance to call another on.

    Args:
        make: As the engine calls it; None where there is no environment.
    """
    for owner in (make, getattr(make, "__self__", None)):
        with_goals = getattr(owner, "with_goals", None)
        if with_goals is not None and not _needs_an_instance(owner):
            found: WithGoals = with_goals
            return found
    return None


def goal_oracle_of(task: Task) -> GoalOracle | None:
    """Return the goal oracle of a task's environment; None where it has no ``with_goals``."""
    return None if task.with_goals is None else GoalOracle(task.name, task.with_goals)


def _needs_an_instance(owner: Any) -> bool:
    found = getattr_static(owner, "with_goals", None)
    return isinstance(owner, type) and not isinstance(found, staticmethod | classmethod)


def build_relabeler(
    part: Part[Any],
    forms: TrajectoryChecker,
    goal_oracle: GoalOracle | None = None,
    environment: str = "",
    columns: Mapping[str, tuple[int, ...]] | None = None,
) -> Relabeler:
    """Build a relabeler; what goes wrong in those that it builds in turn names them.

    Args:
        part: The relabeler, as the spec names it.
        forms: Of what is learned from.
        goal_oracle: The environment's ``with_goals``; None if it has none.
        environment: What users call it; empty where there is none.
        columns: What it shows and records, and the shape of a timestep; None where that is not known.

    Raises:
        AmagoError: If it cannot be built.
    """

    def nested(inner: Part[Any], context: RelabelerContext) -> Relabeler:
        return CheckedRelabeler(_built(inner, context), inner.use, forms)

    with_goals = None if goal_oracle is None else partial(goal_oracle, forms=forms)
    relabeler = _built(
        part,
        RelabelerContext(with_goals=with_goals, environment=environment, columns=columns, build=nested),
    )
    if goal_oracle is None:
        return relabeler
    with part_errors("relabeler", part.use, "asking whether it changes anything"):
        return GoalCheckedRelabeler(relabeler, goal_oracle, forms)


def _built(part: Part[Any], context: RelabelerContext) -> Relabeler:
    with part_errors("relabeler", part.use, "building it"):
        built: Relabeler = part.build(context)
        return built

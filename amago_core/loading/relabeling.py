"""Relabelers with what the environment offers them, in this process or in another.

Numpy alone, as all that loader processes import.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import getattr_static
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from amago_core.blaming import blaming
from amago_core.loading.watched import Forms, WatchedRelabeler, naming_missing_columns
from amago_core.loading.workers import LoaderError
from amago_registry.contexts import RelabelerContext
from amago_registry.errors import AmagoError, reason
from amago_registry.goals import GOALS, present

if TYPE_CHECKING:
    from amago_registry.options import Part
    from amago_registry.protocols import Relabeler

WithGoals: TypeAlias = "Callable[[Mapping[str, np.ndarray], Any], Mapping[str, np.ndarray]]"


@dataclass(frozen=True)
class Offer:
    """What an environment says that other goals would have led to; its errors name it.

    It can be pickled wherever the function comes from, such as from a user's script.

    Args:
        environment: What users call the environment.
        with_goals: See :class:`amago_registry.protocols.Environment`.
    """

    environment: str
    with_goals: WithGoals

    def __call__(
        self, columns: Mapping[str, np.ndarray], goals: Any, *, forms: Forms
    ) -> Mapping[str, np.ndarray]:
        """Return the columns under other goals.

        Raises:
            AmagoError: If the environment raises something, or nothing can learn from what it returns.
        """
        with blaming("environment", self.environment, "with_goals"):
            who = f"with_goals of environment {self.environment}"
            with naming_missing_columns(who):
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


TRIED = 16
"""Trajectories in which an environment is asked about the goals that they had."""


class Inquiry:
    """Asks the environment what other goals would have led to, and first whether it can be believed.

    Asked for the goals that a task had, it must return what was recorded. That is tried with the first
    trajectories, where their goals are those of :mod:`amago_registry.goals`.

    Args:
        offer: What the environment says.
        forms: Of what is learned from.
    """

    def __init__(self, offer: Offer, forms: Forms) -> None:
        self._offer, self._forms, self._left = offer, forms, TRIED

    def __call__(self, columns: Mapping[str, np.ndarray], goals: Any) -> Mapping[str, np.ndarray]:
        """Return the columns under other goals.

        Raises:
            AmagoError: If the environment raises something, nothing can learn from what it returns, or
                it says of the goals that a task had what was not recorded.
        """
        if self._left:
            self._left -= 1
            self._try(columns)
        return self._offer(columns, goals, forms=self._forms)

    def _try(self, columns: Mapping[str, np.ndarray]) -> None:
        shown = columns.get(GOALS)
        if shown is None or shown.ndim != 3 or not present(shown[0]).any():
            return
        again = self._offer(columns, shown[0], forms=self._forms)
        for name, column in columns.items():
            wrong = _difference(again[name], column) if name in again else "missing"
            if wrong is not None:
                raise AmagoError(
                    f"with_goals of environment {self._offer.environment}, asked for the goals that a "
                    f"trajectory had, must return what was recorded, and its {name} is {wrong}. "
                    "amago_registry.goals.with_goals is for environments that pay 1 for a goal and "
                    "nothing else, and end with the last goal."
                )


def _difference(found: np.ndarray, recorded: np.ndarray) -> str | None:
    """Return what is wrong with a column, None if nothing but its rounding."""
    if found.shape != recorded.shape:
        return f"{found.shape} instead of {recorded.shape}"
    wrong = np.argwhere(~np.isclose(found, recorded, rtol=1e-5, atol=1e-6))
    if not len(wrong):
        return None
    index = tuple(wrong[0].tolist())
    return f"{found[index].item()} instead of {recorded[index].item()} in row {index[0]}"


def _received(environment: str, packed: bytes) -> Offer:
    try:
        # Not data from a disk: a function of the program that started this process, from its memory.
        return Offer(environment, pickle.loads(packed))
    except Exception as error:
        raise LoaderError(
            f"loader processes cannot receive with_goals of environment {environment} "
            f"({reason(error)}): define it in a module that can be imported by its name, or write "
            "sampling.loader=thread."
        ) from error


def offered(make: Any, environment: str) -> Offer | None:
    """Return ``with_goals`` of what makes environments, or of the part it is a method of.

    A class has no part in front of its method: only what can be called without an instance is an offer.

    Args:
        make: As the engine calls it; None where there is no environment.
        environment: What users call the environment.
    """
    for owner in (make, getattr(make, "__self__", None)):
        with_goals = getattr(owner, "with_goals", None)
        if with_goals is not None and not _needs_an_instance(owner):
            return Offer(environment, with_goals)
    return None


def _needs_an_instance(owner: Any) -> bool:
    found = getattr_static(owner, "with_goals", None)
    return isinstance(owner, type) and not isinstance(found, staticmethod | classmethod)


def build_relabeler(
    part: Part[Any],
    forms: Forms,
    offer: Offer | None = None,
    environment: str = "",
    columns: Mapping[str, tuple[int, ...]] | None = None,
) -> Relabeler:
    """Build a relabeler; what goes wrong in those that it builds in turn names them.

    Args:
        part: The relabeler, as the spec names it.
        forms: Of what is learned from.
        offer: What the environment offers; None if nothing.
        environment: What users call it; empty where there is none.
        columns: What it shows and records, and the shape of a timestep; None where that is not known.

    Raises:
        AmagoError: If it cannot be built.
    """

    def nested(inner: Part[Any], context: RelabelerContext) -> Relabeler:
        return WatchedRelabeler(_built(inner, context), inner.use, forms)

    with_goals = None if offer is None else Inquiry(offer, forms)
    context = RelabelerContext(
        with_goals=with_goals, environment=environment, columns=columns, build=nested
    )
    return _built(part, context)


def _built(part: Part[Any], context: RelabelerContext) -> Relabeler:
    with blaming("relabeler", part.use, "building it"):
        built: Relabeler = part.build(context)
        return built

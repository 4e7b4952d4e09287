"""What environments do wrong, said so that their author can find it.

Shape suffixes: B = environments.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from amago_registry.errors import AmagoError

LARGEST = float(np.finfo(np.float32).max)
"""The greatest number that can be recorded: rewards are kept in single precision."""

_log = logging.getLogger(__name__)


class EnvironmentFault(AmagoError):
    """An environment that cannot be made, raises, or returns what it did not declare.

    Where it raised, that is the cause (``__cause__``), and shown to the user with its traceback.
    """

    shows_cause = True


class EnvironmentCrashed(EnvironmentFault):
    """Environments whose process crashed, hangs or met an exception; they can be started anew.

    What the process had to say, such as the environment's own traceback, is a note of the exception
    (``__notes__``). See :meth:`amago_core.environments.interface.VectorEnvironments.restart`.
    """


def check_finite(name: str, step_B: np.ndarray, **fields: np.ndarray) -> None:
    """Refuse NaN, infinity and what single precision cannot hold in what environments returned.

    Args:
        name: What users call the environment.
        step_B: Steps since each environment's task began.
        fields: Arrays ``(B, ...)`` by the name of the field.

    Raises:
        EnvironmentFault: Naming the first field, environment and step.
    """
    for field, values in fields.items():
        if values.dtype.kind == "f" and not (fits := np.abs(values) <= LARGEST).all():
            worst = first_row(~fits)
            what = (
                "is too large for single precision"
                if np.isfinite(values[worst]).all()
                else "is not finite"
            )
            raise EnvironmentFault(
                f"environment {name}, step {int(step_B[worst])} of its task: {field} {what}: "
                f"{np.array2string(values[worst], threshold=8)}."
            )


def check_index(
    name: str, step_B: np.ndarray, field: str, values: np.ndarray, space: spaces.Space[Any]
) -> None:
    """Refuse indices that their space does not have.

    Args:
        name: What users call the environment.
        step_B: Steps since each environment's task began.
        field: Name of the field.
        values: ``(B, ...)``.
        space: Of one environment: Discrete, MultiDiscrete or MultiBinary.

    Raises:
        EnvironmentFault: Naming the first environment and step.
    """
    low, high = index_range(space)
    wrong = (values < low) | (values > high)
    if wrong.any():
        worst = first_row(wrong)
        raise EnvironmentFault(
            f"environment {name}, step {int(step_B[worst])} of its task: {field} is "
            f"{np.array2string(values[worst], threshold=8)}, which does not lie in {space}."
        )


def index_range(space: spaces.Space[Any]) -> tuple[Any, Any]:
    """Return the least and the greatest index of a Discrete, MultiDiscrete or MultiBinary space."""
    if isinstance(space, spaces.MultiBinary):
        return 0, 1
    assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
    count = space.n if isinstance(space, spaces.Discrete) else space.nvec
    return space.start, space.start + count - 1


def first_row(wrong: np.ndarray) -> int:
    """Return the first environment of which something in ``(B, ...)`` is true."""
    return int(np.flatnonzero(wrong.reshape(len(wrong), -1).any(1))[0])


def one_number(value: Any) -> float:
    """Return a number of any type as Python's.

    Raises:
        ValueError: Saying what it is instead, as the end of a sentence.
    """
    said = f"is {value!r}"
    try:
        if isinstance(value, float | int | np.floating | np.integer):
            return float(value)
        if shape := np.shape(value):
            said = f"has shape {shape}"
        elif getattr(getattr(value, "dtype", None), "kind", "") != "c":  # Half of it would be cut off.
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{said} instead of being one number")


def close_quietly(name: str, close: Callable[[], object]) -> None:
    """Close environments; an error is told and passed over, for nothing depends on them any more.

    Raised, it would leave others open, and hide the error because of which they are closed.
    """
    try:
        close()
    except (Exception, SystemExit) as error:
        _log.warning("environment %s: close raised %s: %s.", name, type(error).__name__, error)

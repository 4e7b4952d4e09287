"""Errors of environments, and checks of the values that they return.

Shape suffixes: B = environments.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from amago_registry.errors import AmagoError

MAX_FLOAT32 = float(np.finfo(np.float32).max)
"""The largest number that can be recorded: rewards are stored in single precision."""

_log = logging.getLogger(__name__)


class EnvironmentFault(AmagoError):
    """An environment cannot be made, raised an error, or returned what it did not declare.

    If the environment raised, its error is the cause (``__cause__``) and shown with its traceback.
    """

    shows_cause = True


class EnvironmentCrashed(EnvironmentFault):
    """The process of environments crashed, timed out or raised; the environments can be restarted.

    The output of the process, such as the environment's own traceback, is a note of the exception
    (``__notes__``). See :meth:`amago_core.environments.interface.VectorEnvironments.restart`.
    """


def check_finite(name: str, step_B: np.ndarray, **fields: np.ndarray) -> None:
    """Check returned arrays for NaN, infinity and numbers too large for single precision.

    Args:
        name: Name of the environment.
        step_B: Steps since each environment's task began.
        fields: Arrays ``(B, ...)`` by the name of the field.

    Raises:
        EnvironmentFault: If there is one; names the first field and step.
    """
    for field, values in fields.items():
        if values.dtype.kind == "f" and not (fits := np.abs(values) <= MAX_FLOAT32).all():
            first = first_row(~fits)
            what = (
                "is too large for single precision"
                if np.isfinite(values[first]).all()
                else "is not finite"
            )
            raise EnvironmentFault(
                f"environment {name}, step {int(step_B[first])} of its task: {field} {what}: "
                f"{np.array2string(values[first], threshold=8)}."
            )


def check_index(
    name: str, step_B: np.ndarray, field: str, values: np.ndarray, space: spaces.Space[Any]
) -> None:
    """Check that indices lie in their space.

    Args:
        name: Name of the environment.
        step_B: Steps since each environment's task began.
        field: Name of the field.
        values: ``(B, ...)``.
        space: Space of one environment: Discrete, MultiDiscrete or MultiBinary.

    Raises:
        EnvironmentFault: If one does not; names the step.
    """
    low, high = index_range(space)
    wrong = (values < low) | (values > high)
    if wrong.any():
        first = first_row(wrong)
        raise EnvironmentFault(
            f"environment {name}, step {int(step_B[first])} of its task: {field} is "
            f"{np.array2string(values[first], threshold=8)}, which does not lie in {space}."
        )


def index_range(space: spaces.Space[Any]) -> tuple[Any, Any]:
    """Return the smallest and the largest index of a Discrete, MultiDiscrete or MultiBinary space."""
    if isinstance(space, spaces.MultiBinary):
        return 0, 1
    assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
    count = space.n if isinstance(space, spaces.Discrete) else space.nvec
    return space.start, space.start + count - 1


def first_row(wrong: np.ndarray) -> int:
    """Return the index of the first environment with a true value in ``(B, ...)``."""
    return int(np.flatnonzero(wrong.reshape(len(wrong), -1).any(1))[0])


def to_float(value: Any) -> float:
    """Convert a number of any type to a Python float.

    Raises:
        ValueError: If it is not one number; the message is the predicate of a sentence.
    """
    description = f"is {value!r}"
    try:
        if isinstance(value, float | int | np.floating | np.integer):
            return float(value)
        if shape := np.shape(value):
            description = f"has shape {shape}"
        elif (
            getattr(getattr(value, "dtype", None), "kind", "") != "c"
        ):  # Complex: float() would drop a part.
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{description} instead of being one number")


def close_quietly(name: str, close: Callable[[], object]) -> None:
    """Close environments; an error is logged as a warning and not raised.

    If it were raised, other environments would stay open, and it would hide the error that led here.
    """
    try:
        close()
    except (Exception, SystemExit) as error:
        _log.warning("environment %s: close raised %s: %s.", name, type(error).__name__, error)

"""Action masks: which actions are allowed, read from the observation ``action_mask``.

A mask has the layout of the action vector: the choices of each factor of a ``Discrete`` or
``MultiDiscrete`` action, concatenated, one value per choice. With other actions an observation of that
name is an ordinary one; encoders see it in both cases.

Shape suffixes: N = rows, A = features of an action vector.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from gymnasium import spaces
from torch import Tensor, nn

from amago_registry.actions import CanonicalAction, action_width, choices
from amago_registry.errors import AmagoError, UnsupportedSpaceError
from amago_registry.spaces import is_binary

MASK_KEY = "action_mask"

Array = TypeVar("Array", Tensor, np.ndarray)


def shows_mask(observed: spaces.Dict, acted: CanonicalAction) -> bool:
    """Return whether canonical observations hold an action mask for canonical actions."""
    return MASK_KEY in observed.spaces and bool(choices(acted))


def action_mask(obs: Mapping[str, Array]) -> Array:
    """Return the action mask ``(N, A)`` of observations ``(N, ...)``, as booleans."""
    values = obs[MASK_KEY]
    allowed: Array = values.reshape(len(values), -1) != 0
    return allowed


def check_mask(observed: spaces.Dict, acted: CanonicalAction) -> None:
    """Check that an observation called ``action_mask`` is an action mask.

    Raises:
        UnsupportedSpaceError: If it is not; says what it is and what it must be.
    """
    parts = [key for key in observed.spaces if key.startswith(f"{MASK_KEY}/")]
    if not choices(acted) or (not parts and MASK_KEY not in observed.spaces):
        return
    width = action_width(acted)
    wanted = f"a mask over {acted} is one array of {width} values 0 or 1, such as MultiBinary({width})"
    if parts:
        raise UnsupportedSpaceError(f"its {MASK_KEY} is in {len(parts)} parts; {wanted}.")
    space = observed[MASK_KEY]
    size = int(np.prod(space.shape or ()))
    if isinstance(space, spaces.Discrete):
        raise UnsupportedSpaceError(f"its {MASK_KEY} is {space}, which is not an array; {wanted}.")
    if size != width:
        raise UnsupportedSpaceError(f"its {MASK_KEY} is {space}, of {size} values; {wanted}.")
    if not is_binary(space):
        raise UnsupportedSpaceError(f"its {MASK_KEY} is {space}, which has other values; {wanted}.")


def check_takes_mask(part: Any, kind: str, use: str, parameters: tuple[str, ...], task: str) -> None:
    """Check that a part takes the action mask as an argument of its call.

    Args:
        part: The built part, such as an actor.
        kind: Its kind.
        use: Its name in the spec.
        parameters: Names of its arguments, the mask last.
        task: Name of the environment.

    Raises:
        AmagoError: If it does not; names the part.
    """
    call = part.forward if isinstance(part, nn.Module) else part
    try:
        inspect.signature(call).bind(*parameters)
    except TypeError:
        raise AmagoError(
            f"environment {task} has an {MASK_KEY}, which the {kind} {use} does not support: it would "
            f"be called with ({', '.join(parameters)}), and takes no {parameters[-1]}. "
            f"To see the others, type: amago components {kind}"
        ) from None

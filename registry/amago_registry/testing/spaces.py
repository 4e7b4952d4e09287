"""Checks of an environment's spaces, and of observations against their space, for laws.

A fault is an error message without its full stop; None if there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces

from amago_registry.actions import choices
from amago_registry.spaces import is_binary

Space: TypeAlias = spaces.Space[Any]

MASK_KEY = "action_mask"
ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)


def action_fault(space: Space) -> str | None:
    """Return why an action space is not supported."""
    if isinstance(space, spaces.Box) and space.is_bounded():
        return None
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return None
    return (
        f"the action space {space} is not supported; use Discrete, MultiDiscrete, MultiBinary "
        "or a Box with finite bounds"
    )


def observation_fault(space: Space) -> str | None:
    """Return why an observation space is not supported."""
    leaves = list(_leaves(space))
    unknown = [str(leaf) for leaf in leaves if not isinstance(leaf, ARRAYS)]
    if leaves and not unknown:
        return None
    return (
        f"the observation space {', '.join(unknown) or space} is not supported; use Box, Discrete, "
        "MultiBinary and MultiDiscrete, alone or in a Dict or Tuple"
    )


def shows_mask(seen: Space, acted: Space) -> bool:
    """Return whether observations have an ``action_mask`` and the actions can be masked."""
    return isinstance(seen, spaces.Dict) and MASK_KEY in seen.spaces and bool(choices(acted))


def mask_fault(seen: Space, acted: Space) -> str | None:
    """Return why the mask in observations of ``seen`` does not fit the action space ``acted``."""
    if not (isinstance(seen, spaces.Dict) and shows_mask(seen, acted)):
        return None
    space, width = seen[MASK_KEY], sum(choices(acted))
    if is_binary(space) and int(np.prod(space.shape or ())) == width:
        return None
    return (
        f"its {MASK_KEY} is {space}; a mask over {acted} must be one array of {width} values 0 or 1, "
        f"such as MultiBinary({width})"
    )


def misfits(obs: Any, space: Space, path: str = "the observation") -> Iterator[str]:
    """Yield how an observation, or its member at a path, differs from its space."""
    match space:
        case spaces.Dict():
            if isinstance(obs, Mapping) and obs.keys() == space.spaces.keys():
                for key, inner in space.spaces.items():
                    yield from misfits(obs[key], inner, f"{path}/{key}")
            else:
                keys = f"the keys {sorted(obs)}" if isinstance(obs, Mapping) else "no keys"
                yield f"{path} has {keys} instead of {sorted(space.spaces)}"
        case spaces.Tuple():
            if isinstance(obs, tuple) and len(obs) == len(space.spaces):
                for place, inner in enumerate(space.spaces):
                    yield from misfits(obs[place], inner, f"{path}/{place}")
            else:
                yield f"{path} is {obs!r}, not a tuple of {len(space.spaces)}"
        case _:
            fault = _misfit(obs, space)
            if fault is not None:
                yield f"{path} {fault}"


def is_number(value: Any) -> bool:
    """Return whether a value is one finite real number and not a bool."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return real and bool(np.isfinite(value))


def _leaves(space: Space) -> Iterator[Space]:
    """Yield the leaf spaces of a nested space."""
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        yield space
        return
    for member in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
        yield from _leaves(member)


def _misfit(obs: Any, space: Space) -> str | None:
    """Return how an array or an index differs from its space."""
    if isinstance(space, spaces.Discrete):
        if isinstance(obs, bool) or not isinstance(obs, int | np.integer):
            return f"is {obs!r}, not an integer"
    elif not isinstance(obs, np.ndarray | np.generic):
        return f"is of type {type(obs).__name__}, not a numpy array"
    elif (obs.dtype, obs.shape) != (space.dtype, space.shape):
        return f"is {obs.dtype} {obs.shape} instead of {space.dtype} {space.shape}"
    elif not np.isfinite(obs).all():
        return "is not finite"
    return None if space.contains(obs) else f"lies outside its space {space}"

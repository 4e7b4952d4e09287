"""Spaces as JSON: what an agent must know of its environment to act without it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from amago_core.errors import RunDirError
from amago_core.system.untrusted_files import read_ordinary
from amago_registry.errors import UnsupportedSpaceError, reason

_MOST_BYTES = 1 << 26

_DEEPEST = 32

_DTYPE = re.compile(r"u?int(8|16|32|64)|float(16|32|64)|bool")


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Return a description of a space that :func:`space_from_json` reads.

    Raises:
        UnsupportedSpaceError: If the space is of a type that no agent takes.
    """
    match space:
        case spaces.Dict():
            items = {key: space_to_json(value) for key, value in space.spaces.items()}
            return {"type": "Dict", "spaces": items}
        case spaces.Tuple():
            return {"type": "Tuple", "spaces": [space_to_json(member) for member in space.spaces]}
        case spaces.Discrete():
            counted = {"n": int(space.n), "start": int(space.start)}
            return {"type": "Discrete", **counted, "dtype": str(space.dtype)}
        case spaces.MultiDiscrete():
            counted = {"nvec": space.nvec.tolist(), "start": space.start.tolist()}
            return {"type": "MultiDiscrete", **counted, "dtype": str(space.dtype)}
        case spaces.MultiBinary():
            n = [int(size) for size in space.n] if isinstance(space.n, tuple) else int(space.n)
            return {"type": "MultiBinary", "n": n}
        case spaces.Box():
            # JSON has no infinity; as text, every bound survives exactly.
            low, high = ([str(x) for x in bound.flatten()] for bound in (space.low, space.high))
            shape = list(space.shape)
            return {"type": "Box", "low": low, "high": high, "shape": shape, "dtype": str(space.dtype)}
    raise UnsupportedSpaceError(f"observations or actions of space {space} are not supported.")


def read_spaces(path: Path) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    """Return the observation and the action space in a run's ``spaces.json``.

    Raises:
        RunDirError: If it is missing, or not what :func:`space_to_json` writes.
        UnsupportedSpaceError: If it describes a space of a type there is not.
    """
    try:
        described = json.loads(read_ordinary(path, _MOST_BYTES))
        return space_from_json(described["observation"]), space_from_json(described["action"])
    except FileNotFoundError:
        raise RunDirError(f"{path} is missing; without it nobody knows what the agent sees.") from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise RunDirError(f"{path} is damaged: {reason(error)}") from None
    except (AssertionError, RecursionError, MemoryError) as error:  # Gymnasium asserts.
        raise RunDirError(f"{path} is damaged: {reason(error)}") from None


def space_from_json(described: dict[str, Any], depth: int = 0) -> spaces.Space[Any]:
    """Return the space that :func:`space_to_json` described.

    Raises:
        UnsupportedSpaceError: If its type is none of those.
        Exception: Of many kinds, if it says anything else that no space is.
    """
    if depth > _DEEPEST:
        raise ValueError(f"spaces are nested more than {_DEEPEST} deep")
    match described["type"]:
        case "Dict":
            items = described["spaces"].items()
            return spaces.Dict({key: space_from_json(value, depth + 1) for key, value in items})
        case "Tuple":
            members = described["spaces"]
            return spaces.Tuple([space_from_json(member, depth + 1) for member in members])
        case "Discrete":
            return _discrete(described)
        case "MultiDiscrete":
            nvec, start = (_whole(described[name]) for name in ("nvec", "start"))
            if nvec.shape != start.shape:
                raise ValueError("nvec and start of a MultiDiscrete differ in shape")
            return spaces.MultiDiscrete(nvec, _dtype(described, "iu").type, start=start)
        case "MultiBinary":
            n = described["n"]
            return spaces.MultiBinary([_size(size) for size in n] if isinstance(n, list) else _size(n))
        case "Box":
            return _box(described)
    raise UnsupportedSpaceError(f"unknown space {described['type']!r:.60} in the run's spaces.json.")


def _discrete(described: dict[str, Any]) -> spaces.Discrete:
    # Older gymnasiums have no other type than int64 and do not ask for one.
    dtype = _dtype({"dtype": "int64", **described}, "iu")
    extra: dict[str, Any] = {} if dtype == np.int64 else {"dtype": dtype.type}
    start = int(_whole(described["start"]))
    return spaces.Discrete(_size(described["n"]), start=start, **extra)


def _box(described: dict[str, Any]) -> spaces.Box:
    dtype, shape = _dtype(described, "biuf"), tuple(map(_size, described["shape"]))
    low, high = (_bound(described[name], dtype, shape) for name in ("low", "high"))
    if np.isnan(low).any() or np.isnan(high).any():
        raise ValueError("a bound of a Box is not a number")
    return spaces.Box(low, high, shape, dtype.type)


def _bound(said: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    # One long text among short ones would take its length for each of them.
    if not isinstance(said, list) or not all(isinstance(x, str) and len(x) <= 40 for x in said):
        raise ValueError("a bound of a Box is no list of numbers as short texts")
    if dtype.kind == "b":
        return np.array([x == "True" for x in said]).reshape(shape)
    return np.array(said, np.str_).astype(dtype).reshape(shape)


def _dtype(described: dict[str, Any], kinds: str) -> np.dtype[Any]:
    """Return a type of plain numbers; numpy's others can be of any size, or hold anything."""
    name = described["dtype"]
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise ValueError(f"{name!r:.60} is no type of a space")
    dtype = np.dtype(name)
    if dtype.kind not in kinds:
        raise ValueError(f"{name} is no type of a {described['type']}")
    return dtype


def _whole(said: Any) -> np.ndarray:
    array = np.array(said)
    if array.dtype.kind != "i":
        raise ValueError("a number of choices or a start is no integer that fits 64 bits")
    return array.astype(np.int64)


def _size(said: Any) -> int:
    if not isinstance(said, int) or isinstance(said, bool) or not 0 <= said < 2**31:
        raise ValueError(f"{said!r:.60} is no size of a space")
    return said

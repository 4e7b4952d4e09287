"""Gymnasium spaces to and from JSON, so that an agent can be loaded without its environment."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from amago_core.errors import RunDirError
from amago_core.system.untrusted_files import read_regular
from amago_registry.errors import UnsupportedSpaceError, reason

_MAX_BYTES = 1 << 26

_MAX_DEPTH = 32

_DTYPE = re.compile(r"u?int(8|16|32|64)|float(16|32|64)|bool")


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Convert a space to JSON, for :func:`space_from_json`.

    Raises:
        UnsupportedSpaceError: If agents do not support the space's type.
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
    """Read the observation and action space of a run from its ``spaces.json``.

    Raises:
        RunDirError: If it is missing, or not in the format of :func:`space_to_json`.
        UnsupportedSpaceError: If it describes a space of an unknown type.
    """
    try:
        described = json.loads(read_regular(path, _MAX_BYTES))
        return space_from_json(described["observation"]), space_from_json(described["action"])
    except FileNotFoundError:
        raise RunDirError(f"{path}, which holds the agent's spaces, is missing.") from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise RunDirError(f"{path} is damaged: {reason(error)}") from None
    except (AssertionError, RecursionError, MemoryError) as error:  # Gymnasium checks with assert.
        raise RunDirError(f"{path} is damaged: {reason(error)}") from None


def space_from_json(described: dict[str, Any], depth: int = 0) -> spaces.Space[Any]:
    """Convert JSON of :func:`space_to_json` back to a space.

    Raises:
        UnsupportedSpaceError: If its type is unknown.
        Exception: Of many types, if it is invalid in any other way.
    """
    if depth > _MAX_DEPTH:
        raise ValueError(f"spaces are nested more than {_MAX_DEPTH} deep")
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
            nvec, start = (_integers(described[name]) for name in ("nvec", "start"))
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
    # Older versions of gymnasium support only int64 and take no dtype.
    dtype = _dtype({"dtype": "int64", **described}, "iu")
    extra: dict[str, Any] = {} if dtype == np.int64 else {"dtype": dtype.type}
    start = int(_integers(described["start"]))
    return spaces.Discrete(_size(described["n"]), start=start, **extra)


def _box(described: dict[str, Any]) -> spaces.Box:
    dtype, shape = _dtype(described, "biuf"), tuple(map(_size, described["shape"]))
    low, high = (_bound(described[name], dtype, shape) for name in ("low", "high"))
    if np.isnan(low).any() or np.isnan(high).any():
        raise ValueError("a bound of a Box is not a number")
    return spaces.Box(low, high, shape, dtype.type)


def _bound(values: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    # An array of strings takes the length of the longest for each, so one long string costs memory.
    if not isinstance(values, list) or not all(isinstance(x, str) and len(x) <= 40 for x in values):
        raise ValueError("a bound of a Box is not a list of numbers as short strings")
    if dtype.kind == "b":
        return np.array([x == "True" for x in values]).reshape(shape)
    return np.array(values, np.str_).astype(dtype).reshape(shape)


def _dtype(described: dict[str, Any], kinds: str) -> np.dtype[Any]:
    """Return a numeric dtype; numpy's other dtypes can have any size or hold any object."""
    name = described["dtype"]
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise ValueError(f"{name!r:.60} is not a dtype of a space")
    dtype = np.dtype(name)
    if dtype.kind not in kinds:
        raise ValueError(f"{name} is not a dtype of a {described['type']}")
    return dtype


def _integers(values: Any) -> np.ndarray:
    array = np.array(values)
    if array.dtype.kind != "i":
        raise ValueError("a number of choices or a start is not a 64-bit integer")
    return array.astype(np.int64)


def _size(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise ValueError(f"{value!r:.60} is not a size of a space")
    return value

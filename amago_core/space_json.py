"""Spaces as JSON: what an agent must know of its environment to act without it."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from amago_registry.errors import UnsupportedSpaceError


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


def space_from_json(described: dict[str, Any]) -> spaces.Space[Any]:
    """Return the space that :func:`space_to_json` described."""
    match described["type"]:
        case "Dict":
            items = described["spaces"].items()
            return spaces.Dict({key: space_from_json(value) for key, value in items})
        case "Tuple":
            return spaces.Tuple([space_from_json(member) for member in described["spaces"]])
        case "Discrete":
            return _discrete(described)
        case "MultiDiscrete":
            nvec, start = (np.array(described[name], np.int64) for name in ("nvec", "start"))
            return spaces.MultiDiscrete(nvec, np.dtype(described["dtype"]).type, start=start)
        case "MultiBinary":
            return spaces.MultiBinary(described["n"])
        case "Box":
            return _box(described)
    raise UnsupportedSpaceError(f"unknown space {described['type']!r} in the run's spaces.json.")


def _discrete(described: dict[str, Any]) -> spaces.Discrete:
    # Older gymnasiums have no other type than int64 and do not ask for one.
    dtype = described.get("dtype", "int64")
    extra: dict[str, Any] = {} if dtype == "int64" else {"dtype": np.dtype(dtype).type}
    return spaces.Discrete(described["n"], start=described["start"], **extra)


def _box(described: dict[str, Any]) -> spaces.Box:
    dtype, shape = np.dtype(described["dtype"]), described["shape"]
    low, high = (
        np.array(described[name], np.str_).astype(dtype).reshape(shape) for name in ("low", "high")
    )
    return spaces.Box(low, high, tuple(shape), dtype.type)

"""Reading the header of a safetensors file that somebody hostile may have written.

safetensors checks what a file must be in general. A shard is less than that: its tensors lie in the
order in which they are listed and without a gap, and there is a bound on everything.
"""

from __future__ import annotations

import json
from math import prod
from typing import Any, NamedTuple

import numpy as np

from amago_core.replay.encoding import DTYPES
from amago_core.replay.trajectory import MOST_AXES

LENGTH_BYTES = 8
"""Bytes before the header, which say how long it is."""

_MOST_ROOM = 2**62
_KEYS = {"dtype", "shape", "data_offsets"}


class Tensor(NamedTuple):
    """Where a tensor lies in its file.

    Args:
        dtype: Type of its elements.
        shape: Its axes.
        offset: Bytes of the file before it.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @property
    def bytes(self) -> int:
        """Bytes it takes."""
        return prod(self.shape) * self.dtype.itemsize

    def view(self, memory: np.ndarray) -> np.ndarray:
        """Return it as a view of the file's bytes."""
        return memory[self.offset : self.offset + self.bytes].view(self.dtype).reshape(self.shape)


def parse_header(text: bytes, size: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file, in the order in which they lie there, and its metadata.

    Args:
        text: The header.
        size: Bytes of the whole file.

    Raises:
        ValueError: If the tensors do not fill the file from the header to its end, or anything else
            is not as it must be.
        RecursionError: If the header is nested too deeply.
    """
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict):
        raise ValueError("its header has no metadata")
    tensors: dict[str, Tensor] = {}
    end = begin = LENGTH_BYTES + len(text)
    for name, described in header.items():
        if not isinstance(described, dict) or described.keys() != _KEYS:
            raise ValueError(f"{name!r} is not described as a tensor is")
        code, shape = described["dtype"], described["shape"]
        dtype = DTYPES.get(code) if isinstance(code, str) else None
        if dtype is None:
            raise ValueError(f"{name!r} has type {code!r}")
        offset, end = end, end + _bytes(name, shape, dtype.itemsize)
        if described["data_offsets"] != [offset - begin, end - begin]:
            raise ValueError(f"{name!r} does not begin where the tensor before it ends")
        tensors[name] = Tensor(dtype, tuple(shape), offset)
    if end != size:
        raise ValueError(f"it has {size} bytes, its header speaks of {end}")
    return tensors, metadata


def _bytes(name: str, shape: Any, itemsize: int) -> int:
    """Return the bytes of a tensor; an axis of length 0 does not excuse the others."""
    possible = type(shape) is list and len(shape) <= MOST_AXES
    elements, room = 1, itemsize
    for axis in shape if possible else ():
        if type(axis) is not int or axis < 0:
            possible = False
            break
        elements *= axis
        room *= axis or 1
    if not possible or room > _MOST_ROOM:
        raise ValueError(f"{name!r} has an impossible shape")
    return elements * itemsize

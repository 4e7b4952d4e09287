"""The arrays in which environments side by side show their results: their names, and where they lie.

Shape suffixes: B = environments.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces

from amago_registry.spaces import canonical_observation, stored_observation_dtype

OBSERVED, RECORDED = "obs.", "recorded."

_ALIGNMENT = 64

Arrays: TypeAlias = dict[str, np.ndarray]


@dataclass(frozen=True)
class Column:
    """One array.

    Args:
        shape: ``(B, ...)``.
        dtype: Of its elements, as numpy writes it.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


def result_columns(
    space: spaces.Space[Any], count: int, recorded: spaces.Dict | None = None
) -> dict[str, Column]:
    """Return what environments show.

    Args:
        space: The observation space, as one environment declares it.
        count: B.
        recorded: What one environment records beside its observations; None for nothing.
    """
    leaves = [(OBSERVED + key, leaf) for key, leaf in canonical_observation(space).items()]
    leaves += [(RECORDED + key, leaf) for key, leaf in (recorded or {}).items()]
    shown = {
        name: Column((count, *(leaf.shape or ())), stored_observation_dtype(leaf).str)
        for name, leaf in leaves
    }
    return shown | {
        "reward": Column((count,), "<f8"),
        "terminated": Column((count,), "|b1"),
        "truncated": Column((count,), "|b1"),
        "success": Column((count,), "<f4"),
    }


def command_columns(space: spaces.Space[Any], count: int) -> dict[str, Column]:
    """Return what environments are told.

    Args:
        space: The action space, as one environment declares it.
        count: B.
    """
    return {
        "action": Column((count, *(space.shape or ())), np.dtype(space.dtype).str),
        "active": Column((count,), "|b1"),
        "fresh": Column((count,), "|b1"),
        "seed": Column((count,), "<i8"),
    }


def allocate(columns: Mapping[str, Column]) -> Arrays:
    """Return arrays in the memory of this process."""
    return {key: np.zeros(column.shape, column.dtype) for key, column in columns.items()}


def observations(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Return the observations among the arrays, by the keys of the canonical space."""
    return _named(OBSERVED, arrays)


def recordings(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Return what is recorded beside the observations among the arrays, by its keys."""
    return _named(RECORDED, arrays)


def _named(prefix: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def shared_file(columns: Mapping[str, Column]) -> int:
    """Return the descriptor of memory with room for the columns, for processes that inherit it.

    The memory has no name: it is gone with the last process that uses it, however that ends.
    """
    size = sum(_room(column) for column in columns.values())
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("amago-environments")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def attach(descriptor: int, columns: Mapping[str, Column]) -> Arrays:
    """Return arrays in the memory behind a descriptor; they keep it, the descriptor may be closed."""
    memory = mmap.mmap(descriptor, sum(_room(column) for column in columns.values()))
    arrays, offset = {}, 0
    for key, column in columns.items():
        arrays[key] = np.ndarray(column.shape, column.dtype, memory, offset)
        offset += _room(column)
    return arrays


def _room(column: Column) -> int:
    """Return the bytes of a column, rounded up so that no two share a line of the cache."""
    return max(1, -(-column.size // _ALIGNMENT)) * _ALIGNMENT

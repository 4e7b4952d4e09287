"""Result and command arrays of vectorized environments, in local or in shared memory.

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
    """Shape and dtype of one array.

    Args:
        shape: ``(B, ...)``.
        dtype: Numpy's string form of the dtype.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize


def result_columns(
    space: spaces.Space[Any], count: int, recorded: spaces.Dict | None = None
) -> dict[str, Column]:
    """Return the arrays of results: observations, records, rewards, ends and successes.

    Args:
        space: The observation space that one environment declares.
        count: B.
        recorded: What one environment records beside its observations; None for nothing.
    """
    leaves = [(OBSERVED + key, leaf) for key, leaf in canonical_observation(space).items()]
    leaves += [(RECORDED + key, leaf) for key, leaf in (recorded or {}).items()]
    observed = {
        name: Column((count, *(leaf.shape or ())), stored_observation_dtype(leaf).str)
        for name, leaf in leaves
    }
    return observed | {
        "reward": Column((count,), "<f8"),
        "terminated": Column((count,), "|b1"),
        "truncated": Column((count,), "|b1"),
        "success": Column((count,), "<f4"),
    }


def command_columns(space: spaces.Space[Any], count: int) -> dict[str, Column]:
    """Return the arrays of commands: actions, masks and seeds.

    Args:
        space: The action space that one environment declares.
        count: B.
    """
    return {
        "action": Column((count, *(space.shape or ())), np.dtype(space.dtype).str),
        "active": Column((count,), "|b1"),
        "fresh": Column((count,), "|b1"),
        "seed": Column((count,), "<i8"),
    }


def allocate(columns: Mapping[str, Column]) -> Arrays:
    """Allocate arrays of zeros in the memory of this process."""
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
    """Allocate shared memory for the columns; return its file descriptor, which subprocesses inherit.

    The memory has no name: the kernel frees it after the last process that uses it, however that ends.
    """
    size = sum(_aligned_size(column) for column in columns.values())
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("amago-environments")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


def attach(descriptor: int, columns: Mapping[str, Column]) -> Arrays:
    """Map arrays in shared memory; the descriptor may be closed afterwards."""
    memory = mmap.mmap(descriptor, sum(_aligned_size(column) for column in columns.values()))
    arrays, offset = {}, 0
    for key, column in columns.items():
        arrays[key] = np.ndarray(column.shape, column.dtype, memory, offset)
        offset += _aligned_size(column)
    return arrays


def _aligned_size(column: Column) -> int:
    """Return the size of a column in bytes, rounded up so that no two share a cache line."""
    return max(1, -(-column.size // _ALIGNMENT)) * _ALIGNMENT

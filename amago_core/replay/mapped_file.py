"""Memory-mapped files that keep no file descriptor open.

Python's own ``mmap`` keeps a file descriptor for every map, and a process is often limited to 1024; a
replay may have thousands of files mapped.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)

_map = _libc.mmap

_map.restype = ctypes.c_void_p

_map.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]

_unmap = _libc.munmap

_unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

_FAILED = ctypes.c_void_p(-1).value


class _Memory:
    """A memory map; numpy keeps it mapped as long as an array refers to it."""

    __slots__ = ("_address", "_size")

    def __init__(self, descriptor: int, size: int) -> None:
        address = _map(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        if address == _FAILED:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._address, self._size = address, size

    @property
    def __array_interface__(self) -> dict[str, Any]:
        read_only = True
        return {
            "version": 3,
            "shape": (self._size,),
            "typestr": "|u1",
            "data": (self._address, read_only),
        }

    def __del__(self, unmap: Any = _unmap) -> None:
        if hasattr(self, "_address"):
            unmap(self._address, self._size)


def map_file(descriptor: int, size: int) -> np.ndarray:
    """Return the first ``size`` bytes of an open file as a read-only array; the file may be closed.

    Raises:
        OSError: If the file cannot be mapped.
    """
    return np.asarray(_Memory(descriptor, size))

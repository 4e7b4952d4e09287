"""How many CPU threads torch takes, said before it is imported: later is too late for its pools."""

from __future__ import annotations

import os
from typing import Literal

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def ranks_of_torchrun() -> tuple[int, int]:
    """Return which process this is of those that torchrun has started, and how many there are."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def thread_count(threads: Literal["auto"] | int, reserved: int = 0) -> int:
    """Return the threads to compute with.

    Args:
        threads: Of the spec; ``auto`` is ``OMP_NUM_THREADS`` where set, else all cores.
        reserved: Cores that ``auto`` leaves to other processes.
    """
    if threads != "auto":
        return threads
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) > 0 else max(1, cores() - reserved)


def thread_variables(count: int) -> dict[str, str]:
    """Return the environment variables that torch's thread pools read when torch is imported."""
    return dict.fromkeys(_VARIABLES, str(count))


def announce_threads(threads: Literal["auto"] | int) -> None:
    """Set the environment variables that torch's thread pools read when torch is imported."""
    os.environ |= thread_variables(thread_count(threads))

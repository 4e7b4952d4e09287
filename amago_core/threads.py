"""How many CPU threads torch takes, said before it is imported: later is too late for its pools."""

from __future__ import annotations

import os
from typing import Literal

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def thread_count(threads: Literal["auto"] | int) -> int:
    """Return the threads to compute with; ``auto`` is ``OMP_NUM_THREADS`` where set, else all cores."""
    if threads != "auto":
        return threads
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and int(told) > 0 else cores()


def announce_threads(threads: Literal["auto"] | int) -> None:
    """Set the environment variables that torch's thread pools read when torch is imported."""
    for variable in _VARIABLES:
        os.environ[variable] = str(thread_count(threads))

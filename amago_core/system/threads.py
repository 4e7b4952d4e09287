"""CPU threads of torch: environment variables to set before torch, and its thread pools, are loaded."""

from __future__ import annotations

import os
from typing import Literal

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def ranks_of_torchrun() -> tuple[int, int]:
    """Return the rank of this process and the world size under torchrun; (0, 1) without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def cores() -> int:
    """Return the number of CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def thread_count(threads: Literal["auto"] | int, reserved: int = 0) -> int:
    """Return the number of CPU threads for torch.

    Args:
        threads: ``running.threads`` of the spec; ``auto`` is ``OMP_NUM_THREADS`` if set, else all
            cores.
        reserved: Cores that ``auto`` leaves to other processes.
    """
    if threads != "auto":
        return threads
    variable = os.environ.get("OMP_NUM_THREADS", "")
    return int(variable) if variable.isdigit() and int(variable) > 0 else max(1, cores() - reserved)


def thread_variables(count: int) -> dict[str, str]:
    """Return the environment variables that set the size of torch's thread pools at import."""
    return dict.fromkeys(_VARIABLES, str(count))


def announce_threads(threads: Literal["auto"] | int) -> None:
    """Set the environment variables that set the size of torch's thread pools at import."""
    os.environ |= thread_variables(thread_count(threads))

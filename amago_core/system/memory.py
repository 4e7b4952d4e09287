"""How much memory the process holds, and how it keeps it between updates."""

from __future__ import annotations

import ctypes
import re
import resource
import sys
from pathlib import Path

# Parameters of glibc's mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4

_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed; return whether there was a glibc to tell.

    An update allocates and frees the same large tensors each time. By default glibc hands each back to
    the system, which must clear every page of it anew; ``benchmarks/learner.py --return-memory`` shows
    what that costs. The memory the process holds at its peak is the same.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, _PAD_BYTES))
    return all(libc.mallopt(name, value) == 1 for name, value in settings)


def peak_memory() -> int:
    """Return the most bytes of memory this process has held so far.

    On Linux from ``/proc``: what ``getrusage`` says begins with the peak of the process that started
    this one.
    """
    if sys.platform.startswith("linux"):
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        found = re.search(r"VmHWM:\s+([0-9]+) kB", status)
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

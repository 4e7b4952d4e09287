"""Memory of the process: its peak, and keeping freed memory between updates (glibc)."""

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
    """Make glibc's allocator keep freed memory; return whether the process uses glibc.

    An update allocates and frees the same large tensors each time. By default glibc returns each to the
    system, which must zero every page again; ``benchmarks/learner.py --return-memory`` shows
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
    """Return the peak resident memory of this process so far, in bytes.

    On Linux from ``/proc``: the peak of ``getrusage`` includes that of the parent process.
    """
    if sys.platform.startswith("linux"):
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        found = re.search(r"VmHWM:\s+([0-9]+) kB", status)
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

"""Child processes: blocked signals while one starts, and its exit code in words."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def signals_blocked(*signals: signal.Signals) -> Iterator[None]:
    """Block signals, so that a child process started inside gets them only once it unblocks them.

    Ctrl-C sends SIGINT to every process of a terminal, also to one that has no handler yet.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def describe_exit(code: int) -> str:
    """Return in words how a process ended, from its exit code: ``was killed by SIGKILL``."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # Real-time signals have no name.
        return f"was killed by signal {-code}"

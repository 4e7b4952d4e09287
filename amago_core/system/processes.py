"""What all processes that this one starts have in common."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def signals_blocked(*signals: signal.Signals) -> Iterator[None]:
    """Start processes that these signals do not reach, before they have said what to do about them.

    Ctrl-C goes to every process of a terminal. The engine decides what it means.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def describe_exit(code: int) -> str:
    """Return what an exit code says of how a process ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # Those of real time have no name.
        return f"was killed by signal {-code}"

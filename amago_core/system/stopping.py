"""Stop requests: SIGINT and SIGTERM as requests to stop after the round, and related errors."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Protocol


class Interruption:
    """Signal handler: the first SIGINT or SIGTERM sets :attr:`requested`, a second one interrupts.

    A context manager, which restores the previous handlers at its end. Outside the main thread, where
    Python delivers no signals, it does nothing.

    Args:
        announce: Called once, when the first signal arrives.
    """

    def __init__(self, announce: Callable[[], None]) -> None:
        self.requested = False
        self._announce = announce
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # The signal may have interrupted a write to the terminal, and writes cannot be nested.
        with suppress(RuntimeError):
            self._announce()


class OrphanedError(Exception):
    """The parent process has ended."""


class HaltedError(Exception):
    """The parent process requested that this one stop at once."""


class StopRequests(Protocol):
    """Context manager that receives requests to stop after the round."""

    @property
    def requested(self) -> bool:
        """Whether a stop was requested."""

    def __enter__(self) -> StopRequests:
        """Start receiving requests."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop receiving requests."""

"""Ctrl-C as a request, not as an accident."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Protocol


class Interruption:
    """While entered, a first SIGINT or SIGTERM only sets :attr:`requested`; a second interrupts.

    Outside the main thread, where Python delivers no signals, nothing is changed.

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
        # The signal may have interrupted a line being written; a second one cannot begin inside it.
        with suppress(RuntimeError):
            self._announce()


class OrphanedError(Exception):
    """The process that started this one is gone."""


class HaltedError(Exception):
    """This process was told to end at once."""


class StopRequests(Protocol):
    """While entered, notices a request to stop after the round."""

    @property
    def requested(self) -> bool:
        """Whether there was one."""

    def __enter__(self) -> StopRequests:
        """Begin to notice."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it to others again."""

"""Processes that draw batches, seen from the process that asks them."""

from __future__ import annotations

import json
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from amago_core.child_processes import death, held_back
from amago_core.loading.channel import Channel
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.loading.source import Recipe
    from amago_core.streams import Stream

_GRACE = 5.0  # Seconds in which a process that was told to end does.
# Whoever interrupts training interrupts the learner, which ends its workers. Not multiprocessing: it
# would run the user's program again in each of them. With -P, or a json.py of the folder that somebody
# happens to be in would run.
_PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import json, sys; "
    "sys.path[:] = json.loads(sys.argv[1]); from amago_core.loading.worker import serve; "
    "serve(int(sys.argv[2]))"
)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class LoaderError(AmagoError):
    """A process that draws batches ended, or cannot be given its work."""


class Workers:
    """A few processes; a call waits for one that is free, and takes what it answers.

    Processes start at once, and build their parts when they are first asked. They take one thread each,
    and end with this process, however that ends.

    Args:
        recipe: Makes the source of each process.
        count: Processes.
        note: Shows the user one sentence; called from the thread that asks.

    Raises:
        LoaderError: If the recipe cannot be sent to another process.
    """

    def __init__(self, recipe: Recipe, count: int, note: Callable[[str], None]) -> None:
        try:
            data = pickle.dumps(recipe)
        except LoaderError:
            raise
        except Exception as error:
            raise LoaderError(
                f"loader processes cannot be given their work ({type(error).__name__}: {error}): write "
                "sampling.loader=thread."
            ) from error
        self._note = note
        self._workers = [_Worker() for _ in range(count)]
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            worker.begin(data)
            self._free.put(worker)

    def streams(self, update: int, limit: int | None) -> list[Stream]:
        """Return the batches of an update; as `Source.streams`, from any thread.

        Raises:
            LoaderError: If the process died.
        """
        worker = self._free.get()
        try:
            notes, streams = worker.ask(update, limit)
        finally:
            self._free.put(worker)
        for sentence in notes:
            self._note(sentence)
        return streams

    def close(self) -> None:
        """End the processes, whatever they are at."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.end()


class _Worker:
    """One process and the connection to it."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        with there, held_back(signal.SIGINT):  # Until the program below ignores it.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), str(there.fileno())],
                stdin=subprocess.DEVNULL,
                env=os.environ | dict.fromkeys(_THREADS, "1"),
                pass_fds=[there.fileno()],
            )
        self._channel = Channel(here)

    def begin(self, recipe: bytes) -> None:
        with suppress(OSError):  # It died: so says the first request.
            self._channel.send(recipe)

    def ask(self, update: int, limit: int | None) -> tuple[list[str], list[Stream]]:
        try:
            self._channel.send((update, limit))
            notes, error = self._channel.receive()
            if error is None:
                return notes, self._channel.receive_streams()
        except (EOFError, OSError):
            raise LoaderError(self._obituary(update)) from None
        raise error

    def end(self) -> None:
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._channel.close()

    def _obituary(self, update: int) -> str:
        try:
            code = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            how = "fell silent"
        else:
            how = death(code)
        return (
            f"a loader process {how} while it drew the batches of update {update}. If memory ran out, "
            "fewer sampling.workers or sampling.loader=thread take less."
        )

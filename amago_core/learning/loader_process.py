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

from amago_core.errors import LoaderError
from amago_core.learning.packing import PackedArrays
from amago_core.system.processes import describe_exit, signals_blocked
from amago_core.system.sockets import FramedSocket

if TYPE_CHECKING:
    from amago_core.learning.batch_source import SourceConfig


_STOP_TIMEOUT_S = 5.0  # Seconds in which a process that was told to end does.

# Whoever interrupts training interrupts the learner, which ends its workers. Not multiprocessing: it
# would run the user's program again in each of them. With -P, or a json.py of the folder that somebody
# happens to be in would run.
_PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import json, sys; "
    "sys.path[:] = json.loads(sys.argv[1]); from amago_core.learning.loader_process_main import serve; "
    "serve(int(sys.argv[2]))"
)

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class LoaderPool:
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

    def __init__(self, recipe: SourceConfig, count: int, note: Callable[[str], None]) -> None:
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
        self._workers = [LoaderProcess() for _ in range(count)]
        self._free: queue.SimpleQueue[LoaderProcess] = queue.SimpleQueue()
        for worker in self._workers:
            worker.begin(data)
            self._free.put(worker)

    def streams(self, update: int, limit: int | None) -> list[PackedArrays]:
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


class LoaderProcess:
    """One process and the connection to it."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        with there, signals_blocked(signal.SIGINT):  # Until the program below ignores it.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), str(there.fileno())],
                stdin=subprocess.DEVNULL,
                env=os.environ | dict.fromkeys(_THREADS, "1"),
                pass_fds=[there.fileno()],
            )
        self._channel = FramedSocket(here)

    def begin(self, config: bytes) -> None:
        """Send a pickled :class:`SourceConfig`."""
        with suppress(OSError):  # It died: so says the first request.
            self._channel.send(config)

    def ask(self, update: int, limit: int | None) -> tuple[list[str], list[PackedArrays]]:
        """Return notes for the user, and the batches of an update."""
        try:
            self._channel.send((update, limit))
            notes, error = self._channel.receive()
            if error is None:
                received = self._channel.receive_arrays()
                return notes, [PackedArrays.from_arrays(arrays) for arrays in received]
        except (EOFError, OSError):
            raise LoaderError(self._describe_exit(update)) from None
        raise error

    def end(self) -> None:
        """Wait for the process to end; kill it if it does not."""
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._channel.close()

    def _describe_exit(self, update: int) -> str:
        try:
            code = self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            how = "fell silent"
        else:
            how = describe_exit(code)
        return (
            f"a loader process {how} while it drew the batches of update {update}. If memory ran out, "
            "fewer sampling.workers or sampling.loader=thread take less."
        )

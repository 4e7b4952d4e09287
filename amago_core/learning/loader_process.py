"""Loader processes, seen from the learner's process: start them, request batches, stop them.

The program that they run is :mod:`amago_core.learning.loader_process_main`; both sides share the
configuration in :mod:`amago_core.learning.batch_source`. A batch is packed in
:mod:`amago_core.learning.packing`.
"""

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


_STOP_TIMEOUT_S = 5.0  # Seconds to wait for a process to end before it is killed.

# SIGINT is ignored: Ctrl-C interrupts the learner, which stops its loader processes. Not the
# multiprocessing module: it would run the user's program again in each process. Started with -P, or a
# json.py in the current folder would be imported.
_PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); import json, sys; "
    "sys.path[:] = json.loads(sys.argv[1]); from amago_core.learning.loader_process_main import serve; "
    "serve(int(sys.argv[2]))"
)

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class LoaderPool:
    """A pool of loader processes; each request waits for a free one.

    Processes start at once, and build their parts at the first request. They use one CPU thread each,
    and end when this process does, even if it is killed.

    Args:
        config: Configuration of each process's batch source.
        count: Number of processes.
        note: Shows the user one sentence; called from the thread that requests batches.

    Raises:
        LoaderError: If the configuration cannot be pickled.
    """

    def __init__(self, config: SourceConfig, count: int, note: Callable[[str], None]) -> None:
        try:
            data = pickle.dumps(config)
        except LoaderError:
            raise
        except Exception as error:
            raise LoaderError(
                f"the configuration cannot be sent to loader processes ({type(error).__name__}: "
                f"{error}): write sampling.loader=thread."
            ) from error
        self._note = note
        self._processes = [LoaderProcess() for _ in range(count)]
        self._free: queue.SimpleQueue[LoaderProcess] = queue.SimpleQueue()
        for process in self._processes:
            process.send_config(data)
            self._free.put(process)

    def batches(self, update: int, limit: int | None) -> list[PackedArrays]:
        """Return the batches of an update, as `BatchSource.batches` does. Thread-safe.

        Raises:
            LoaderError: If the process has ended.
        """
        process = self._free.get()
        try:
            notes, batches = process.request(update, limit)
        finally:
            self._free.put(process)
        for sentence in notes:
            self._note(sentence)
        return batches

    def close(self) -> None:
        """Terminate the processes, even in the middle of a request."""
        for process in self._processes:
            process.popen.terminate()
        for process in self._processes:
            process.wait()


class LoaderProcess:
    """A loader process and the connection to it."""

    def __init__(self) -> None:
        here, there = socket.socketpair()
        with there, signals_blocked(signal.SIGINT):  # Until the program below ignores it.
            self.popen = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), str(there.fileno())],
                stdin=subprocess.DEVNULL,
                env=os.environ | dict.fromkeys(_THREADS, "1"),
                pass_fds=[there.fileno()],
            )
        self._connection = FramedSocket(here)

    def send_config(self, config: bytes) -> None:
        """Send a pickled :class:`SourceConfig`."""
        with suppress(OSError):  # It has ended: the first request raises.
            self._connection.send(config)

    def request(self, update: int, limit: int | None) -> tuple[list[str], list[PackedArrays]]:
        """Request the batches of an update; return notes for the user, and the batches."""
        try:
            self._connection.send((update, limit))
            notes, error = self._connection.receive()
            if error is None:
                received = self._connection.receive_arrays()
                return notes, [PackedArrays.from_arrays(arrays) for arrays in received]
        except (EOFError, OSError):
            raise LoaderError(self._describe_exit(update)) from None
        raise error

    def wait(self) -> None:
        """Wait for the process to end; kill it after a timeout."""
        try:
            self.popen.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self._connection.close()

    def _describe_exit(self, update: int) -> str:
        try:
            code = self.popen.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            how = "closed its connection"
        else:
            how = describe_exit(code)
        return (
            f"a loader process {how} while it drew the batches of update {update}. If memory ran out, "
            "fewer sampling.workers or sampling.loader=thread take less."
        )

"""A learner or collector process of a run, as its supervisor starts, reads and stops it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from amago_core.system.processes import describe_exit, signals_blocked
from amago_core.system.threads import thread_variables

if TYPE_CHECKING:
    from amago_core.running.processes.messages import ProcessJob


_MAIN = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); {run}"

_RUN = "from amago_core.running.processes.process_main import main; main()"


class RunProcess:
    """A learner or collector process, over all of its restarts.

    Args:
        name: ``learner``, or ``collector_`` and a number.
        threads: Number of threads it computes with.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.name, self._threads = name, threads
        self.display_name = name.replace("_", " ")
        self.starts = 0
        self.last_output = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._received = b""

    @property
    def alive(self) -> bool:
        """Whether it was started and not reaped since."""
        return self._process is not None

    @property
    def output(self) -> int:
        """File descriptor of the pipe of events."""
        return cast(Any, self._process).stdout.fileno()  # type: ignore[no-any-return]

    def start(self, job: ProcessJob, environment: bytes) -> None:
        """Start the process.

        Thread counts are set as variables, before it imports torch. Its name and folder are arguments,
        so that ``ps`` shows them.

        Args:
            job: Its job.
            environment: The pickled function that makes environments; empty without one.
        """
        self.starts += 1
        self.last_output, self._received = "", b""
        with signals_blocked(signal.SIGINT, signal.SIGTERM):  # See process_main.py.
            process = self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # Import no module from the working directory.
                    "-c",
                    _MAIN.format(run=_RUN),
                    json.dumps(sys.path),
                    self.name,
                    job.folder,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **thread_variables(self._threads)},
            )
        with suppress(BrokenPipeError):  # It has ended already; its exit code is read in reap.
            assert process.stdin is not None
            process.stdin.write(job.encode(environment))
            process.stdin.flush()

    def send(self, command: str) -> None:
        """Send a command, if the process is alive."""
        if self._process is not None:
            with suppress(BrokenPipeError):
                assert self._process.stdin is not None
                self._process.stdin.write(f"{command}\n".encode())
                self._process.stdin.flush()

    def read_events(self) -> list[dict[str, Any]]:
        """Return the events that have arrived, without waiting for any."""
        while self.alive and select.select([self.output], [], [], 0)[0]:
            data = os.read(self.output, 2**16)
            if not data:
                break
            self._received += data
        *lines, self._received = self._received.split(b"\n")
        return [json.loads(line) for line in lines]

    def wait_for_events(self, seconds: float) -> list[dict[str, Any]]:
        """Return the events that have arrived, after waiting up to ``seconds`` for some."""
        select.select([self.output], [], [], seconds)
        return self.read_events()

    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process is None or self._process.poll() is not None

    def reap(self) -> str:
        """Wait for its exit code and close its pipes; return how it ended, in words."""
        process = cast("subprocess.Popen[bytes]", self._process)
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        self._process = None
        return describe_exit(code)

    def end(self, deadline: float) -> None:
        """Wait for its end; kill it at the deadline (monotonic seconds)."""
        if self._process is None:
            return
        while not self.ended() and time.monotonic() < deadline:
            self.wait_for_events(0.05)  # Empty the pipe: the process may be blocked on it.
        if not self.ended():
            self._process.kill()
        self.reap()

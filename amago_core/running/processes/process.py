"""A process of a run, as the one that started it sees it."""

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
    """One process, over all of its lives.

    Args:
        name: ``learner``, or ``collector_`` and a number.
        threads: It computes with.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.name, self._threads = name, threads
        self.title = name.replace("_", " ")
        self.starts = 0
        self.last_output = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._received = b""

    @property
    def alive(self) -> bool:
        """Whether it was started and is not buried yet."""
        return self._process is not None

    @property
    def output(self) -> int:
        """The pipe on which events arrive."""
        return cast(Any, self._process).stdout.fileno()  # type: ignore[no-any-return]

    def start(self, job: ProcessJob, local: bytes) -> None:
        """Start it, with the threads said before it imports torch; lists of processes show its folder.

        Args:
            job: What it is to do.
            local: The pickled function that makes environments; empty without one.
        """
        self.starts += 1
        self.last_output, self._received = "", b""
        with signals_blocked(signal.SIGINT, signal.SIGTERM):  # See child.py.
            process = self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # Nothing that happens to lie in the working directory is taken for a module.
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
        with suppress(BrokenPipeError):  # It has died already, which its end will say.
            assert process.stdin is not None
            process.stdin.write(job.encode(local))
            process.stdin.flush()

    def tell(self, word: str) -> None:
        """Send it one word, if it lives."""
        if self._process is not None:
            with suppress(BrokenPipeError):
                assert self._process.stdin is not None
                self._process.stdin.write(f"{word}\n".encode())
                self._process.stdin.flush()

    def events(self) -> list[dict[str, Any]]:
        """Return the events that have arrived, without waiting for any."""
        while self.alive and select.select([self.output], [], [], 0)[0]:
            piece = os.read(self.output, 2**16)
            if not piece:
                break
            self._received += piece
        *lines, self._received = self._received.split(b"\n")
        return [json.loads(line) for line in lines]

    def wait_for_events(self, seconds: float) -> list[dict[str, Any]]:
        """Return the events that have arrived, after waiting for some."""
        select.select([self.output], [], [], seconds)
        return self.events()

    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process is None or self._process.poll() is not None

    def reap(self) -> str:
        """Close what was left of it; return how it ended."""
        process = cast("subprocess.Popen[bytes]", self._process)
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        self._process = None
        return describe_exit(code)

    def end(self, deadline: float) -> None:
        """Wait for its end; at the deadline, in monotonic seconds, kill it."""
        if self._process is None:
            return
        while not self.ended() and time.monotonic() < deadline:
            self.wait_for_events(0.05)  # Or a full pipe would keep it.
        if not self.ended():
            self._process.kill()
        self.reap()

"""Messages between the supervisor and a learner or collector process, over two pipes.

To the process: its job, then commands of one word. The pipe closes when the supervisor ends, which is
how a process notices that it is an orphan. From the process: events, one line of JSON each.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from amago_core.errors import notes_of
from amago_core.system.stopping import HaltedError, OrphanedError
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.environments import MakeEnvironment


STOP, HALT = "stop", "halt"
"""Commands: stop after the round, and stop at once."""

_ORPHAN_TIMEOUT_S = 20.0

_TICK_SECONDS = 0.05


@dataclass(frozen=True)
class ProcessJob:
    """The job of a learner or collector process.

    Args:
        name: ``learner``, or ``collector_`` and a number.
        folder: The run's folder.
        spec: The resolved spec, as plain mappings.
        resume: Whether there is a run to resume.
        sys_path: Where Python looks for modules.
        pickled_length: Bytes of the pickled function that makes environments; 0 without one.
    """

    name: str
    folder: str
    spec: dict[str, Any]
    resume: bool
    sys_path: tuple[str, ...]
    pickled_length: int

    @property
    def number(self) -> int:
        """Number of the collector; 0 for the learner."""
        return int(self.name.partition("_")[2] or 0)

    def encode(self, environment: bytes) -> bytes:
        """Return the job as bytes for the pipe; ``environment`` is the pickled function."""
        return json.dumps(asdict(self)).encode() + b"\n" + environment


class CommandPipe:
    """The pipe of commands from the supervisor, read by a thread.

    If this process becomes an orphan and does not end by itself in time, for instance because it is
    blocked, the thread ends it.

    Args:
        file: The pipe.
        grace: Seconds that an orphan has to end by itself.
    """

    def __init__(self, file: IO[bytes], grace: float = _ORPHAN_TIMEOUT_S) -> None:
        self._file, self._grace = file, grace
        self.stopping = self.halting = self.orphaned = False
        line = file.readline()
        if not line:
            raise OrphanedError
        stored = json.loads(line)
        self.job = ProcessJob(**{**stored, "sys_path": tuple(stored["sys_path"])})
        self._environment = file.read(self.job.pickled_length)

    def watch(self) -> None:
        """Start to read the commands that follow the job."""
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    def environment(self) -> MakeEnvironment | None:
        """Return the function that makes environments; None if the spec names the environment."""
        if not self._environment:
            return None
        import cloudpickle

        # Trusted: the supervisor sent it over a pipe; it is never read from the disk.
        make: MakeEnvironment = cloudpickle.loads(self._environment)
        return make

    def check(self) -> None:
        """Raise if this process has to end.

        Raises:
            OrphanedError: If the supervisor is gone.
            HaltedError: If the command ``halt`` has come.
        """
        if self.orphaned:
            raise OrphanedError
        if self.halting:
            raise HaltedError

    def _read(self) -> None:
        for line in self._file:
            command = line.decode().strip()
            self.stopping |= command == STOP
            self.halting |= command == HALT
        self.orphaned = True
        time.sleep(self._grace)
        os._exit(1)


class PipeStopRequest:
    """A request to stop after the round that comes as a command; see :class:`StopRequests`.

    Args:
        commands: The pipe of commands.
    """

    def __init__(self, commands: CommandPipe) -> None:
        self._commands = commands

    @property
    def requested(self) -> bool:
        """Whether the command ``stop`` has come."""
        return self._commands.stopping

    def __enter__(self) -> PipeStopRequest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class EventPipe:
    """The pipe of events to the supervisor.

    Args:
        file: The pipe, unbuffered.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def send(self, event: str, **fields: Any) -> None:
        """Send one event.

        Raises:
            OrphanedError: If the supervisor is gone.
        """
        line = json.dumps({"event": event, **fields}, default=float).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
        except BrokenPipeError:
            raise OrphanedError from None


class EventReporter:
    """Sends progress to the supervisor's reporter; see :class:`amago_core.running.progress.Reporter`.

    Args:
        events: The pipe of events.
        clock: Monotonic seconds.
    """

    def __init__(self, events: EventPipe, clock: Callable[[], float] = time.monotonic) -> None:
        self._events, self._clock = events, clock
        self._last_tick = -1.0

    def start(self, title: str, rounds: int, done: int) -> None:
        """Send the start of training."""
        self._events.send("start", title=title, rounds=rounds, done=done)

    def tick(self, phase: str, done: int, total: int) -> None:
        """Send progress within a round, at most once in ``_TICK_SECONDS`` and at the end of a phase."""
        now = self._clock()
        if now - self._last_tick >= _TICK_SECONDS or done == total:
            self._last_tick = now
            self._events.send("tick", phase=phase, done=done, total=total)

    def round(self, metrics: Mapping[str, Any]) -> None:
        """Send the metrics of a round."""
        self._events.send("round", metrics=dict(metrics))

    def note(self, text: str) -> None:
        """Send a note for the user."""
        self._events.send("note", text=text)

    def finish(self) -> None:
        """Nothing to send: the supervisor calls its own reporter's ``finish``."""


def error_to_event(error: AmagoError) -> dict[str, Any]:
    """Serialize an error so that another process can raise it; see :func:`error_from_event`."""
    kind, text, notes = type(error), str(error), notes_of(error)
    return {"module": kind.__module__, "kind": kind.__qualname__, "text": text, "notes": notes}


def error_from_event(event: dict[str, Any]) -> AmagoError:
    """Return the error of :func:`error_to_event`, of its own class if that can be imported."""
    try:
        kind = getattr(import_module(event["module"]), event["kind"])
        error = kind(event["text"])
    except Exception:
        error = None
    if not isinstance(error, AmagoError):
        error = AmagoError(event["text"])
    for note in event["notes"]:
        error.add_note(note)
    return error

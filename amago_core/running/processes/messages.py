"""What a process of a run and the one that started it tell each other, over two pipes.

Towards the process: its job, then single words. The pipe closes with the process at its other end,
which is how an orphan knows that it is one. Back: events, one line of JSON each.
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

_ORPHAN_TIMEOUT_S = 20.0

_TICK_SECONDS = 0.05


@dataclass(frozen=True)
class ProcessJob:
    """What a process of a run is to do.

    Args:
        name: ``learner``, or ``collector_`` and a number.
        folder: The run's folder.
        spec: The resolved spec, as plain mappings.
        resume: Whether there is a run to go on with.
        path: Where Python looks for modules.
        local: Length of the pickled function that makes environments; 0 without one.
    """

    name: str
    folder: str
    spec: dict[str, Any]
    resume: bool
    path: tuple[str, ...]
    local: int

    @property
    def number(self) -> int:
        """Which collector it is."""
        return int(self.name.partition("_")[2] or 0)

    def encode(self, local: bytes) -> bytes:
        """Return the job as it goes over the pipe."""
        return json.dumps(asdict(self)).encode() + b"\n" + local


class CommandPipe:
    """The pipe from the process that started this one.

    A thread reads it. Where the rest of this process does not notice in time that it has become an
    orphan, because it waits for something else, the thread ends it.

    Args:
        file: The pipe.
        grace: Seconds that an orphan is given to end by itself.
    """

    def __init__(self, file: IO[bytes], grace: float = _ORPHAN_TIMEOUT_S) -> None:
        self._file, self._grace = file, grace
        self.stopping = self.halting = self.orphaned = False
        line = file.readline()
        if not line:
            raise OrphanedError
        stored = json.loads(line)
        self.job = ProcessJob(**{**stored, "path": tuple(stored["path"])})
        self._local = file.read(self.job.local)

    def watch(self) -> None:
        """Begin to read what comes after the job."""
        threading.Thread(target=self._read, name="lifeline", daemon=True).start()

    def environment(self) -> MakeEnvironment | None:
        """Return the function that makes environments, if the training was given one."""
        if not self._local:
            return None
        import cloudpickle

        # From the process that started this one, over a pipe of its own; nothing of it is on the disk.
        make: MakeEnvironment = cloudpickle.loads(self._local)
        return make

    def check(self) -> None:
        """Notice what this process was told.

        Raises:
            OrphanedError: If the process that started this one is gone.
            HaltedError: If this process is to end at once.
        """
        if self.orphaned:
            raise OrphanedError
        if self.halting:
            raise HaltedError

    def _read(self) -> None:
        for line in self._file:
            word = line.decode().strip()
            self.stopping |= word == STOP
            self.halting |= word == HALT
        self.orphaned = True
        time.sleep(self._grace)
        os._exit(1)


class PipeStopRequest:
    """A request to stop after the round, when it comes over the commands; see :class:`Interruption`.

    Args:
        commands: Where it comes from.
    """

    def __init__(self, commands: CommandPipe) -> None:
        self._commands = commands

    @property
    def requested(self) -> bool:
        """Whether it came."""
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
    """The pipe back to the process that started this one.

    Args:
        file: The pipe, unbuffered.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def send(self, event: str, **fields: Any) -> None:
        """Send one event.

        Raises:
            OrphanedError: If nobody is there to read it.
        """
        line = json.dumps({"event": event, **fields}, default=float).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
        except BrokenPipeError:
            raise OrphanedError from None


class EventReporter:
    """A reporter at the other end of the events; see :class:`amago_core.running.progress.Reporter`.

    Args:
        events: Where it is told of.
        clock: Monotonic seconds.
    """

    def __init__(self, events: EventPipe, clock: Callable[[], float] = time.monotonic) -> None:
        self._events, self._clock = events, clock
        self._ticked = -1.0

    def start(self, title: str, rounds: int, done: int) -> None:
        """Tell of the beginning."""
        self._events.send("start", title=title, rounds=rounds, done=done)

    def tick(self, phase: str, done: int, total: int) -> None:
        """Tell of a step within a round, where the last one told of is not just past."""
        now = self._clock()
        if now - self._ticked >= _TICK_SECONDS or done == total:
            self._ticked = now
            self._events.send("tick", phase=phase, done=done, total=total)

    def round(self, metrics: Mapping[str, Any]) -> None:
        """Tell of a round."""
        self._events.send("round", metrics=dict(metrics))

    def note(self, text: str) -> None:
        """Tell a sentence."""
        self._events.send("note", text=text)

    def finish(self) -> None:
        """The other end knows by itself."""


def error_to_event(error: AmagoError) -> dict[str, Any]:
    """Return an error as JSON holds it; see `error_from_event`."""
    kind, text, notes = type(error), str(error), notes_of(error)
    return {"module": kind.__module__, "kind": kind.__qualname__, "text": text, "notes": notes}


def error_from_event(event: dict[str, Any]) -> AmagoError:
    """Return the error that another process has raised, of its own class where that can be found."""
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

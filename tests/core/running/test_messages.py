"""Messages between the supervisor and the processes of a run."""

from __future__ import annotations

import io
import json
import os
import time
from typing import Any

import pytest

from amago_core.running.processes.messages import (
    CommandPipe,
    EventPipe,
    EventReporter,
    PipeStopRequest,
    ProcessJob,
)
from amago_core.system.stopping import HaltedError, OrphanedError

JOB = ProcessJob(
    name="collector_3",
    folder="runs/x",
    spec={"seed": 1},
    resume=True,
    sys_path=("a",),
    pickled_length=0,
)


def connect() -> tuple[CommandPipe, Any]:
    """Return a pipe of commands that has received its job, and the writing end."""
    reading, writing = os.pipe()
    writer = os.fdopen(writing, "wb", buffering=0)
    writer.write(JOB.encode(b""))
    commands = CommandPipe(os.fdopen(reading, "rb"), grace=1000.0)
    commands.watch()
    return commands, writer


def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_job_comes_first() -> None:
    commands, writer = connect()
    assert commands.job == JOB
    assert commands.job.number == 3
    assert commands.environment() is None
    commands.check()
    writer.close()


def test_commands_come_after_the_job() -> None:
    commands, writer = connect()
    with PipeStopRequest(commands) as request:
        assert not request.requested
        writer.write(b"stop\n")
        until(lambda: request.requested)
    commands.check()
    writer.write(b"halt\n")
    until(lambda: commands.halting)
    with pytest.raises(HaltedError):
        commands.check()
    writer.close()


def test_a_closed_pipe_makes_the_process_an_orphan() -> None:
    commands, writer = connect()
    writer.close()
    until(lambda: commands.orphaned)
    with pytest.raises(OrphanedError):
        commands.check()
    with pytest.raises(OrphanedError):
        CommandPipe(io.BytesIO(b""))


def test_a_pickled_function_follows_the_job() -> None:
    import cloudpickle

    made = cloudpickle.dumps(lambda: 7)
    job = ProcessJob(**{**vars(JOB), "pickled_length": len(made)})
    commands = CommandPipe(io.BytesIO(job.encode(made) + b"stop\n"))
    make: Any = commands.environment()
    assert make() == 7


def test_progress_is_sent_as_lines_of_json() -> None:
    sent = io.BytesIO()
    clock = iter([0.0, 0.01, 0.02, 1.0])
    reporter = EventReporter(EventPipe(sent), clock=lambda: next(clock))
    reporter.start("maze", 4, 0)
    for done in (1, 2, 3):
        reporter.tick("updating", done, 3)  # The second is too soon after the first; the third is last.
    reporter.tick("updating", 1, 3)
    reporter.note("so")
    reporter.round({"round": 1})
    reporter.finish()
    assert [json.loads(line) for line in sent.getvalue().splitlines()] == [
        {"event": "start", "title": "maze", "rounds": 4, "done": 0},
        {"event": "tick", "phase": "updating", "done": 1, "total": 3},
        {"event": "tick", "phase": "updating", "done": 3, "total": 3},
        {"event": "tick", "phase": "updating", "done": 1, "total": 3},
        {"event": "note", "text": "so"},
        {"event": "round", "metrics": {"round": 1}},
    ]


def test_sending_an_event_without_a_reader_raises_orphaned() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as file, pytest.raises(OrphanedError):
        EventPipe(file).send("note", text="hello")

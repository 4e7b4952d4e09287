"""What a process of a run and the one that started it tell each other."""

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
    name="collector_3", folder="runs/x", spec={"seed": 1}, resume=True, path=("a",), local=0
)


def line() -> tuple[CommandPipe, Any]:
    """Return a lifeline that has got its job, and the end that speaks."""
    reading, writing = os.pipe()
    speaker = os.fdopen(writing, "wb", buffering=0)
    speaker.write(JOB.encode(b""))
    lifeline = CommandPipe(os.fdopen(reading, "rb"), grace=1000.0)
    lifeline.watch()
    return lifeline, speaker


def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_job_comes_first() -> None:
    lifeline, speaker = line()
    assert lifeline.job == JOB
    assert lifeline.job.number == 3
    assert lifeline.environment() is None
    lifeline.check()
    speaker.close()


def test_words_come_after_it() -> None:
    lifeline, speaker = line()
    with PipeStopRequest(lifeline) as told:
        assert not told.requested
        speaker.write(b"stop\n")
        until(lambda: told.requested)
    lifeline.check()
    speaker.write(b"halt\n")
    until(lambda: lifeline.halting)
    with pytest.raises(HaltedError):
        lifeline.check()
    speaker.close()


def test_an_orphan_knows_that_it_is_one() -> None:
    lifeline, speaker = line()
    speaker.close()
    until(lambda: lifeline.orphaned)
    with pytest.raises(OrphanedError):
        lifeline.check()
    with pytest.raises(OrphanedError):
        CommandPipe(io.BytesIO(b""))


def test_a_function_travels_behind_the_job() -> None:
    import cloudpickle

    made = cloudpickle.dumps(lambda: 7)
    job = ProcessJob(**{**vars(JOB), "local": len(made)})
    lifeline = CommandPipe(io.BytesIO(job.encode(made) + b"stop\n"))
    make: Any = lifeline.environment()
    assert make() == 7


def test_progress_goes_back_as_lines() -> None:
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


def test_with_nobody_to_read_it_the_speaker_is_an_orphan() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as file, pytest.raises(OrphanedError):
        EventPipe(file).send("note", text="hello")

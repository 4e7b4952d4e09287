"""The learner process of an asynchronous run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from amago_core.run_folder.lock import join_run
from amago_core.run_folder.run_dir import RunDir
from amago_core.running.interleaved import compose_run
from amago_core.running.loop import TrainingLoop
from amago_core.running.processes.async_experience import AsyncExperience
from amago_core.running.processes.messages import EventReporter, PipeStopRequest
from amago_core.running.result import Result
from amago_core.spec import load_spec
from amago_core.system.threads import thread_count

if TYPE_CHECKING:
    from amago_core.running.processes.messages import CommandPipe, EventPipe


def run_learner(commands: CommandPipe, events: EventPipe) -> None:
    """Run the training loop on the experience of collector processes."""
    job, reporter = commands.job, EventReporter(events)
    spec, folder = load_spec(job.spec, local_environment=True), RunDir(Path(job.folder))
    threads = thread_count(spec.running.threads)  # ``auto``: the supervisor has set OMP_NUM_THREADS.
    parts, transfer = compose_run(spec, folder, commands.environment(), job.resume, threads)
    commands.check()  # Composing takes seconds; an orphan must not create a run.
    if not job.resume:
        folder.create(spec, parts.task)
    join_run(folder)
    experience = AsyncExperience(spec, folder, parts, reporter.note, commands)
    loop = TrainingLoop(spec, folder, parts, experience, reporter, transfer)
    try:
        loop.prepare(job.resume)
        events.send("ready")
        result = loop.run(job.resume, lambda _: PipeStopRequest(commands))
        events.send("result", **_as_event(result))
    finally:
        loop.close()


def _as_event(result: Result) -> dict[str, object]:
    """Return a result for JSON, without the run's folder; the evaluation is a file in that folder."""
    fields = {name: value for name, value in vars(result).items() if name != "run"}
    return {**fields, "evaluation": result.evaluation is not None}

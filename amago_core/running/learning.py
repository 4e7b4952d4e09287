"""The learner process of an asynchronous run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from amago_core.compose import Composition, compose
from amago_core.memory import keep_freed_memory
from amago_core.run_dir import RunDir
from amago_core.running.channel import ChannelReporter, Told
from amago_core.running.gathered import GatheredExperience
from amago_core.running.locks import join
from amago_core.running.nothing import NoExperience
from amago_core.running.own import OwnExperience
from amago_core.running.rounds import Conclusion, Rounds
from amago_core.saving import can_go_on
from amago_core.spec import RunSpec, load_spec
from amago_core.threads import thread_count

if TYPE_CHECKING:
    from amago_core.environments import MakeEnvironment
    from amago_core.running.channel import Channel, Lifeline
    from amago_core.running.experience import Experience


def compose_run(
    spec: RunSpec, folder: RunDir, environment: MakeEnvironment | None, resume: bool, threads: int
) -> Composition:
    """Set this process up for learning and build the parts of a run."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(spec.seed)
    initialize = spec.init_from is not None and not (resume and can_go_on(folder))
    return compose(spec, environment, initialize=initialize)


def learn(lifeline: Lifeline, channel: Channel) -> None:
    """Learn from what collectors collect, until the spec says stop."""
    job, reporter = lifeline.job, ChannelReporter(channel)
    spec, folder = load_spec(job.spec, local_environment=True), RunDir(Path(job.folder))
    threads = thread_count(spec.running.threads)  # Set by the process that started this one.
    parts = compose_run(spec, folder, lifeline.environment(), job.resume, threads)
    lifeline.check()  # Composing takes seconds; an orphan must not begin a run.
    if not job.resume:
        folder.create(spec, parts.task)
    join(folder)
    experience = GatheredExperience(spec, folder, parts, reporter.note, lifeline)
    rounds = Rounds(spec, folder, parts, experience, reporter)
    try:
        rounds.prepare(job.resume)
        channel.send("ready")
        conclusion = rounds.go(job.resume, lambda _: Told(lifeline))
        channel.send("result", **_without_evaluation(conclusion))
    finally:
        rounds.close()


def _without_evaluation(conclusion: Conclusion) -> dict[str, object]:
    """Return a conclusion as JSON holds it; the evaluation is in the run's folder."""
    told = asdict(conclusion)
    told["evaluation"] = conclusion.evaluation is not None
    return told


def own_experience(
    spec: RunSpec, folder: RunDir, parts: Composition, note: Callable[[str], None]
) -> Experience:
    """Return what collects in this process, by turns with learning; nothing where no step is taken."""
    if not spec.training.steps_per_round:
        return NoExperience()
    return OwnExperience(spec, folder, parts, note)

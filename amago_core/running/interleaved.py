"""Collecting and learning by turns, in one process, or in several that learn together."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from amago_core.going_on import check_same
from amago_core.interruption import Interruption
from amago_core.running.learning import compose_run, own_experience
from amago_core.running.locks import FolderLock
from amago_core.running.rounds import Rounds
from amago_core.running.together import LeadingExperience, dismiss, follow, lead, together
from amago_core.threads import thread_count
from amago_core.training import Result

if TYPE_CHECKING:
    from amago_core.compose import Composition
    from amago_core.environments import MakeEnvironment
    from amago_core.progress import Reporter
    from amago_core.run_dir import RunDir
    from amago_core.running.experience import Experience
    from amago_core.spec import RunSpec


def take_turns(
    spec: RunSpec,
    folder: RunDir,
    environment: MakeEnvironment | None,
    reporter: Reporter,
    resume: bool,
    ranks: int = 1,
) -> Result:
    """Train in this process, and in the others that torchrun has started where ``ranks`` is above 1."""
    with together(ranks) as rank, ExitStack() as held:
        if ranks > 1 and rank == 0:
            held.callback(dismiss)
        if resume and rank == 0:
            held.callback(FolderLock(folder).close)
            for consequence in check_same(folder, spec):
                reporter.note(consequence)
        threads = thread_count(spec.running.threads)
        parts = compose_run(spec, folder, environment, resume or rank > 0, threads)
        if rank > 0:
            updates = follow(spec, folder, parts, reporter.note)
            return Result(folder.path, None, updates, 0, 0.0, 0.0, 0, "rounds")
        return _lead(spec, folder, parts, reporter, resume, ranks, held)


def _lead(
    spec: RunSpec,
    folder: RunDir,
    parts: Composition,
    reporter: Reporter,
    resume: bool,
    ranks: int,
    held: ExitStack,
) -> Result:
    experience: Experience = own_experience(spec, folder, parts, reporter.note)
    if ranks > 1:
        experience = LeadingExperience(experience, spec.training.updates_per_round)
    rounds = Rounds(spec, folder, parts, experience, reporter)
    held.callback(rounds.close)
    if not resume:
        folder.create(spec, parts.task)
        held.callback(FolderLock(folder).close)
    rounds.prepare(resume)
    if ranks > 1:
        lead()
    return Result(run=folder.path, **vars(rounds.go(resume, Interruption)))

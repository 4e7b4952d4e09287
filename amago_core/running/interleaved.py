"""Interleaved training: collect, then learn, in one process or in the ranks of torchrun."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch

from amago_core.compose.build import Composition, compose
from amago_core.run_folder.checkpoints import has_checkpoint
from amago_core.run_folder.lock import FolderLock
from amago_core.run_folder.resume import check_resumable
from amago_core.run_folder.run_dir import RunDir
from amago_core.run_folder.transfer import WeightTransfer, compose_from
from amago_core.running.experience import NoExperience
from amago_core.running.loop import TrainingLoop
from amago_core.running.result import Result
from amago_core.running.sync_experience import SyncExperience
from amago_core.running.torchrun import (
    announce_updates,
    process_group,
    run_rank,
    start_ranks,
    stop_ranks,
)
from amago_core.spec import RunSpec
from amago_core.system.memory import keep_freed_memory
from amago_core.system.stopping import Interruption
from amago_core.system.threads import thread_count

if TYPE_CHECKING:
    from amago_core.environments import MakeEnvironment
    from amago_core.running.experience import ExperienceSource
    from amago_core.running.progress import Reporter


def train_interleaved(
    spec: RunSpec,
    folder: RunDir,
    environment: MakeEnvironment | None,
    reporter: Reporter,
    resume: bool,
    ranks: int = 1,
) -> Result:
    """Train by collecting and learning in turn; with ``ranks`` above 1, as one rank of torchrun."""
    with process_group(ranks) as rank, ExitStack() as held:
        if ranks > 1 and rank == 0:
            held.callback(stop_ranks)
        if resume and rank == 0:
            held.callback(FolderLock(folder).close)
            for consequence in check_resumable(folder, spec):
                reporter.note(consequence)
        threads = thread_count(spec.running.threads)
        parts, transfer = compose_run(spec, folder, environment, resume or rank > 0, threads)
        if rank > 0:
            updates = run_rank(spec, folder, parts, reporter.note)
            return Result(folder.path, None, updates, 0, 0.0, 0.0, 0, "rounds")
        experience = sync_experience(spec, folder, parts, reporter.note)
        announce = announce_updates if ranks > 1 else None
        loop = TrainingLoop(spec, folder, parts, experience, reporter, transfer, announce)
        held.callback(loop.close)
        if not resume:
            folder.create(spec, parts.task)
            held.callback(FolderLock(folder).close)
        loop.prepare(resume)
        if ranks > 1:
            start_ranks()
        return loop.run(resume, Interruption)


def compose_run(
    spec: RunSpec, folder: RunDir, environment: MakeEnvironment | None, resume: bool, threads: int
) -> tuple[Composition, WeightTransfer | None]:
    """Set threads and seed of the learner's process; build its parts, with any transferred weights."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(spec.seed)
    # Only then is it asked: finding a checkpoint reads all of it.
    if spec.init_from is not None and resume and has_checkpoint(folder):
        return compose(spec, environment), None  # Its weights come from the checkpoint.
    return compose_from(spec, environment)


def sync_experience(
    spec: RunSpec, folder: RunDir, parts: Composition, note: Callable[[str], None]
) -> ExperienceSource:
    """Return a collector in this process; :class:`NoExperience` if the spec takes no steps."""
    if not spec.training.steps_per_round:
        return NoExperience()
    return SyncExperience(spec, folder, parts, note)

"""The result of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from amago_core.acting.evaluation_result import Evaluation


@dataclass(frozen=True)
class Result:
    """The result of a training run.

    Args:
        run: The run's folder.
        evaluation: Of the last round; None if the run was interrupted before its evaluation, or has no
            environment to evaluate in.
        updates: Updates of the learner, skipped ones included.
        env_steps: Steps of all environments together.
        seconds: Wall time of all rounds, including those before a resume.
        cpu_seconds: Processor time of all processes in these rounds.
        peak_bytes: Peak memory of the learner's process.
        stopped: Why the run ended: ``rounds``, ``seconds``, ``return`` or ``interrupted``.
    """

    run: Path
    evaluation: Evaluation | None
    updates: int
    env_steps: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    stopped: str

"""The result of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from amago_core.acting.evaluation_result import Evaluation


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Args:
        run: Its folder.
        evaluation: Of the last round; None if the run was interrupted before it was evaluated, or has
            no environment to be evaluated in.
        updates: Updates, skipped ones included.
        env_steps: Steps of all environments together.
        seconds: Wall time of all rounds, those before a resume included.
        cpu_seconds: Processor time of the same.
        peak_bytes: Most memory the process that learns held.
        stopped: Why it ended: ``rounds``, ``seconds``, ``return`` or ``interrupted``.
    """

    run: Path
    evaluation: Evaluation | None
    updates: int
    env_steps: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    stopped: str

"""What of a spec comes to nothing, said to whoever wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_core.learning_data import data_notes

if TYPE_CHECKING:
    from amago_core.spec import RunSpec


def spec_notes(spec: RunSpec) -> list[str]:
    """Return a sentence for each option that has no effect beside the others, or less than it says."""
    return [*data_notes(spec), *_idle(spec)]


def _idle(spec: RunSpec) -> list[str]:
    collector, running, length = spec.collector, spec.running, spec.agent.context_length
    notes = []
    if running.mode != "async" and running.collectors > 1:
        notes.append(
            f"running.collectors={running.collectors} has no effect: running.mode is {running.mode}. "
            "Write running.mode=async for collectors beside the learner."
        )
    for name, idle in (
        ("step_timeout", collector.step_timeout is None),
        ("processes", collector.processes == "auto"),
    ):
        if not idle and collector.vectorization != "async":
            notes.append(
                f"collector.{name}={getattr(collector, name)} has no effect: collector.vectorization "
                f"is {collector.vectorization}. Write collector.vectorization=async for environments "
                "in processes."
            )
    if collector.piece_length is not None and collector.piece_length < length:
        notes.append(
            f"collector.piece_length={collector.piece_length} is below agent.context_length={length}: "
            "what is learned from is no longer than a piece."
        )
    return notes

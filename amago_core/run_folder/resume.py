"""Under which spec a run may go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.run_folder.run_dir import RunDir
    from amago_core.spec import RunSpec


_MAY_CHANGE = (
    "training.rounds",
    "training.stop",
    "evaluation",
    "checkpoints",
    "trackers",
    "replay",
    "running",
    "collector.processes",
    "collector.step_timeout",
    "collector.max_restarts",
    "sampling.loader",
    "sampling.workers",
    "sampling.prefetch",
)

_MAY_NOT_CHANGE = ("running.mode",)
"""What is recorded, and in which order, differs: neither mode can go on where the other stopped."""


def check_resumable(folder: RunDir, spec: RunSpec) -> list[str]:
    """Refuse to go on under another spec; how long and how often things happen may change.

    Returns:
        What such a change entails, as sentences for the user.

    Raises:
        MissingPluginError: If the run's own parts are no longer installed.
        AmagoError: Listing every key in which the two specs differ.
    """
    from amago_core.run_folder.missing_plugins import check_plugins
    from amago_core.spec import load_spec
    from amago_core.spec.diff import differences
    from amago_core.spec.yaml_files import read_file

    check_plugins(folder, read_file(folder.spec))
    stored = load_spec(folder.spec, local_environment=True, stored=True)
    changed = [
        line
        for line in differences(stored, spec)
        if line.startswith(_MAY_NOT_CHANGE) or not line.startswith(_MAY_CHANGE)
    ]
    if changed:
        listed = "".join(f"\n  {line}" for line in changed)
        raise AmagoError(
            f"{folder.path} was trained with another spec; it cannot go on with:{listed}\n"
            "Put that back, or begin another run from its weights: "
            f"--run OTHER/FOLDER init_from={folder.path}."
        )
    return [
        *_schedule_consequences(stored, spec),
        *_evaluation_consequences(stored, spec),
        *_replay_consequences(stored, spec),
    ]


def _schedule_consequences(stored: RunSpec, spec: RunSpec) -> list[str]:
    before, now, schedule = stored.training.rounds, spec.training.rounds, spec.training.schedule
    if before == now or schedule == "constant":
        return []
    return [
        f"training.rounds was {before} and is {now}: the {schedule} schedule spans all of them, so the "
        "learning rate jumps where the run goes on"
    ]


def _evaluation_consequences(stored: RunSpec, spec: RunSpec) -> list[str]:
    as_often = spec.evaluation.model_copy(update={"every": stored.evaluation.every})
    if not spec.checkpoints.best or as_often == stored.evaluation:
        return []
    return [
        "evaluation is another than before: checkpoints/best stays what the one before found best "
        "until a return is higher"
    ]


def _replay_consequences(stored: RunSpec, spec: RunSpec) -> list[str]:
    if stored.replay == spec.replay:
        return []
    return [
        "replay keeps another amount than before: from now on the run learns from other trajectories "
        "than it would have"
    ]

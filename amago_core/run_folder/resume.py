"""Which spec keys may change when a run is resumed."""

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
"""Exceptions to the prefixes above.

Interleaved and async runs store different state, so neither mode can resume a run of the other.
"""


def check_resumable(folder: RunDir, spec: RunSpec) -> list[str]:
    """Raise unless a run can be resumed with a spec: only some keys may differ from its own.

    Args:
        folder: The run to resume.
        spec: The resolved spec to resume it with.

    Returns:
        Consequences of the changed keys, as sentences for the user.

    Raises:
        MissingPluginError: If a part of the run is not installed here.
        AmagoError: If keys differ that may not change; lists all of them.
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
            f"{folder.path} was trained with another spec; it cannot be resumed with:{listed}\n"
            "Change that back, or start a new run from its weights: "
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
        "learning rate jumps where the run is resumed"
    ]


def _evaluation_consequences(stored: RunSpec, spec: RunSpec) -> list[str]:
    same_interval = spec.evaluation.model_copy(update={"every": stored.evaluation.every})
    if not spec.checkpoints.best or same_interval == stored.evaluation:
        return []
    return [
        "evaluation differs from before: checkpoints/best keeps the best checkpoint of the earlier "
        "evaluations until a mean return is higher"
    ]


def _replay_consequences(stored: RunSpec, spec: RunSpec) -> list[str]:
    if stored.replay == spec.replay:
        return []
    return [
        "replay limits differ from before: from now on the run samples other trajectories than it "
        "would have"
    ]

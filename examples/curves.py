"""Learning curves and a table of several runs, grouped by a key of their specs.

Usage: python examples/curves.py runs/maze-* --by relabeler.use --output maze-runner.png

Each run is a line, and each group a colour. The table is in Markdown, one line per run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

COLOURS = ("#1f5fa8", "#c4524a", "#40a45c", "#9aa5b1", "#8c5fb0")
MISSING = object()
AXES = {"update": "updates", "env_steps": "environment steps", "cpu_seconds": "CPU seconds"}


class Run(NamedTuple):
    """The evaluations of one run.

    Args:
        name: Of its folder.
        group: Value of the key by which runs are grouped, without the plugin's name.
        seed: Of the run.
        records: Those of its metrics that hold an evaluation, in their order.
        last: Its newest record.
    """

    name: str
    group: str
    seed: int
    records: list[dict[str, Any]]
    last: dict[str, Any]


def read(folder: Path, group: str) -> Run:
    """Read a run's metrics.

    Raises:
        SystemExit: If it was never evaluated.
    """
    # A run that goes on may be writing its last line.
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    records = [json.loads(line) for line in lines]
    evaluated = [record for record in records if record.get("eval/return") is not None]
    if not evaluated:
        raise SystemExit(f"{folder} has not been evaluated yet: leave it out")
    seed = int(OmegaConf.select(OmegaConf.load(folder / "spec.yaml"), "seed"))
    return Run(folder.name, group, seed, evaluated, records[-1])


def groups(folders: list[Path], by: str) -> list[str]:
    """Return each run's value at a key; where only others have the option, the name of its part.

    Raises:
        SystemExit: If a folder holds no run, or no run has such a key.
    """
    missing = [folder for folder in folders if not (folder / "metrics.jsonl").exists()]
    if missing:
        raise SystemExit(f"{missing[0]} holds no run")
    specs = [OmegaConf.load(folder / "spec.yaml") for folder in folders]
    found = [group_of(spec, by) for spec in specs]
    if not any(found):
        raise SystemExit(f"no spec.yaml of these runs has a part or a value at {by!r}")
    parent = by.rpartition(".")[0]
    return [own or group_of(spec, parent) or "none" for own, spec in zip(found, specs, strict=True)]


def group_of(spec: Any, key: str) -> str | None:
    """Return a value, or the name of the part at the key; None where there is neither."""
    try:
        found = OmegaConf.select(spec, key, default=MISSING) if key else MISSING
    except OmegaConfBaseException:
        return None
    if OmegaConf.is_dict(found):
        found = found.get("use", MISSING)
    return None if found is MISSING else str(found).rpartition("/")[2]


def table(runs: list[Run]) -> str:
    """Return a line per run: its last evaluation, and what it cost."""
    lines = ["| group | seed | return | success | steps | updates | seconds | CPU seconds |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for run in runs:
        shown, last = run.records[-1], run.last
        success = shown.get("eval/success")
        lines.append(
            f"| {run.group} | {run.seed} | {shown['eval/return']:.2f} "
            f"| {'' if success is None else f'{success:.2f}'} | {last['env_steps']:,} "
            f"| {last['update']:,} | {last['seconds']:.0f} | {last['cpu_seconds']:.0f} |"
        )
    return "\n".join(lines)


def draw(axes: Axes, runs: list[Run], over: str, baselines: dict[str, float]) -> None:
    """Draw one panel: return over updates, steps or CPU seconds."""
    groups = list(dict.fromkeys(run.group for run in runs))
    for number, group in enumerate(groups):
        members = [run for run in runs if run.group == group]
        seeds = "1 seed" if len(members) == 1 else f"{len(members)} seeds"
        for run in members:
            axes.plot(
                [record[over] for record in run.records],
                [record["eval/return"] for record in run.records],
                color=COLOURS[number % len(COLOURS)],
                linewidth=1.2,
                marker=".",
                label=f"{group} ({seeds})" if run is members[0] else None,
            )
    for name, value in baselines.items():
        axes.axhline(value, color="#373e48", linewidth=0.8, linestyle=":")
        axes.annotate(
            name, (0.99, value), xycoords=("axes fraction", "data"), fontsize=8, ha="right", va="bottom"
        )
    axes.set_xlabel(AXES[over])
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Read, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--by", required=True, help="key of the spec, such as relabeler.use")
    parser.add_argument("--output", type=Path, required=True, help="the picture")
    parser.add_argument(
        "--line",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "RETURN"),
        help="to compare with",
    )
    given = parser.parse_args()
    named = zip(given.runs, groups(given.runs, given.by), strict=True)
    runs = sorted((read(*each) for each in named), key=lambda run: (run.group, run.seed))
    print(table(runs))
    figure = Figure(figsize=(11.0, 3.4), layout="constrained")
    baselines = {name: float(value) for name, value in given.line}
    for number, over in enumerate(AXES, 1):
        draw(figure.add_subplot(1, len(AXES), number), runs, over, baselines)
    figure.axes[0].set_ylabel("return of an evaluation")
    figure.axes[0].legend(frameon=False, fontsize=8)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.output, dpi=130)
    print(f"\nplot        {given.output}")


if __name__ == "__main__":
    main()

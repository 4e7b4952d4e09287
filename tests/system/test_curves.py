"""``examples/curves.py``: evaluations of several runs in one plot and one table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def curves(tmp_path: Path, *runs: Path, by: str = "relabeler.use") -> subprocess.CompletedProcess[str]:
    script = [sys.executable, str(ROOT / "examples" / "curves.py")]
    given = [*map(str, runs), "--by", by, "--output", str(tmp_path / "curves.png")]
    return subprocess.run([*script, *given], capture_output=True, text=True, check=False)


def stored(folder: Path, relabeler: str, *returns: float | None) -> Path:
    """Write the files of a run that the script reads; the last line of metrics is incomplete."""
    folder.mkdir()
    spec = {
        "seed": len(folder.name),
        "relabeler": {"use": f"standard/{relabeler}"},
        "agent": {"dims": [8]},
    }
    (folder / "spec.yaml").write_text(json.dumps(spec))
    lines: list[dict[str, Any]] = [
        {
            "update": 10 * number,
            "env_steps": 100 * number,
            "seconds": 2.0 * number,
            "cpu_seconds": 1.0 * number,
            "eval/return": each,
            "eval/success": 0.5,
        }
        for number, each in enumerate(returns, 1)
    ]
    written = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "metrics.jsonl").write_text(f'{written}{{"update": 9')
    return folder


def test_the_table_has_the_last_evaluation_and_its_cost(tmp_path: Path) -> None:
    runs = stored(tmp_path / "bb", "none", 1.0, None), stored(tmp_path / "a", "hindsight", 2.0, 4.0)
    made = curves(tmp_path, *runs)
    assert made.stdout.splitlines() == [
        "| group | seed | return | success | steps | updates | seconds | CPU seconds |",
        "|---|---|---|---|---|---|---|---|",
        "| hindsight | 1 | 4.00 | 0.50 | 200 | 20 | 4 | 2 |",
        "| none | 2 | 1.00 | 0.50 | 200 | 20 | 4 | 2 |",
        "",
        f"plot        {tmp_path / 'curves.png'}",
    ]
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_a_part_without_an_option_goes_by_its_name(tmp_path: Path) -> None:
    runs = [stored(tmp_path / name, name, 1.0) for name in ("none", "hindsight")]
    spec = json.loads((runs[1] / "spec.yaml").read_text())
    spec["relabeler"]["strategy"] = "future"
    (runs[1] / "spec.yaml").write_text(json.dumps(spec))
    lines = curves(tmp_path, *runs, by="relabeler.strategy").stdout.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| future", "| none"]


def test_lists_and_nothing_are_values_too(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "none", 1.0)
    (run / "spec.yaml").write_text('{"seed": 0, "agent": {"dims": [8], "window": null}}')
    for by, group in (("agent.dims", "[8]"), ("agent.window", "None")):
        assert curves(tmp_path, run, by=by).stdout.splitlines()[2].startswith(f"| {group} | 0 |")


@pytest.mark.parametrize("by", ["relabler.use", "relabeler.strategie", "agent", "use"])
def test_runs_are_grouped_by_a_part_or_a_value(tmp_path: Path, by: str) -> None:
    made = curves(tmp_path, stored(tmp_path / "run", "none", 1.0), by=by)
    assert made.stderr == f"no spec.yaml of these runs has a part or a value at {by!r}\n"


def test_a_run_without_an_evaluation_is_refused(tmp_path: Path) -> None:
    made = curves(tmp_path, stored(tmp_path / "run", "none", None))
    assert made.stderr.endswith("run has not been evaluated yet: leave it out\n")

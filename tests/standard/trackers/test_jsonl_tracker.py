"""metrics.jsonl: appended line by line, cut back when a run resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amago_registry import TrackerContext
from amago_standard.trackers import JsonlTracker
from amago_standard.trackers.options import JsonlOptions


def tracker(run_dir: Path) -> JsonlTracker:
    return JsonlTracker(TrackerContext(run_dir=run_dir), JsonlOptions())


def write(run_dir: Path, rounds: range) -> None:
    writer = tracker(run_dir)
    writer.start(None)
    for number in rounds:
        writer.record({"round": number, "return": number / 2, "phase": "train"})
    writer.finish()


def rounds_in(run_dir: Path) -> list[int]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["round"] for line in lines]


def test_each_record_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, range(1, 3))
    assert (tmp_path / "metrics.jsonl").read_text() == (
        '{"round": 1, "return": 0.5, "phase": "train"}\n{"round": 2, "return": 1.0, "phase": "train"}\n'
    )


def test_a_record_can_be_read_during_the_run(tmp_path: Path) -> None:
    writer = tracker(tmp_path)
    writer.start(None)
    writer.record({"round": 1})
    assert rounds_in(tmp_path) == [1]
    writer.finish()


@pytest.mark.parametrize(("resumed", "kept"), [(0, []), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3])])
def test_a_resumed_run_cuts_the_file_back_to_its_round(
    tmp_path: Path, resumed: int, kept: list[int]
) -> None:
    write(tmp_path, range(1, 4))
    writer = tracker(tmp_path)
    writer.start(resumed)
    writer.record({"round": 10})
    writer.finish()
    assert rounds_in(tmp_path) == [*kept, 10]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("half", ['{"round": 3, "ret', '{"round": 3', "{", '{"phase": "a}'])
def test_half_a_line_at_the_end_is_dropped_when_a_run_resumes(tmp_path: Path, half: str) -> None:
    write(tmp_path, range(1, 3))
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + half)
    writer = tracker(tmp_path)
    writer.start(5)
    writer.record({"round": 3})
    writer.finish()
    assert rounds_in(tmp_path) == [1, 2, 3]


def test_a_resumed_run_without_a_file_starts_one(tmp_path: Path) -> None:
    writer = tracker(tmp_path)
    writer.start(3)
    writer.record({"round": 4})
    writer.finish()
    assert rounds_in(tmp_path) == [4]


def test_finishing_before_the_start_does_nothing(tmp_path: Path) -> None:
    tracker(tmp_path).finish()
    assert list(tmp_path.iterdir()) == []

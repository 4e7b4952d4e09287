"""Progress reporters: a live display on a terminal, or lines for a log."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from amago_core.running import progress
from amago_core.running.progress import LiveReporter, PlainReporter, make_reporter


def metrics(round_: int, **more: Any) -> Mapping[str, Any]:
    return {
        "round": round_,
        "update": 40 * round_,
        "env_steps": 1000 * round_,
        "seconds": 2.0 * round_,
        "return": None,
        "success": None,
        "skipped": 0,
        **more,
    }


def live() -> tuple[LiveReporter, io.StringIO]:
    text = io.StringIO()
    return LiveReporter(Console(file=text, force_terminal=True, width=120, color_system=None)), text


def test_a_log_has_a_line_per_evaluation_and_one_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 101.0, 102.0, 111.0, 112.5, 113.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    reporter = PlainReporter()
    reporter.start("maze (runs/maze)", rounds=6, done=0)
    reporter.round(metrics(1))
    reporter.round(metrics(2))
    reporter.round(metrics(3, **{"eval/return": 0.5}))
    reporter.tick("collecting", 1, 2)
    reporter.round(metrics(4))
    reporter.round(metrics(5, loss=0.12345, success=0.25, skipped=3, **{"return": 12.345}))
    reporter.note("stopping")
    reporter.round(metrics(6))
    reporter.finish()
    assert capsys.readouterr().err.splitlines() == [
        "training maze (runs/maze), round 0 of 6 done",
        "round 1/6  updates 40  steps 1000  2 s",
        "round 3/6  eval return 0.500  updates 120 (20/s)  steps 3000 (500/s)  6 s",
        "round 5/6  return 12.3  success 0.25  loss 0.123  "
        "updates 200 (20/s)  steps 5000 (500/s)  10 s  skipped 3",
        "stopping",
        "round 6/6  updates 240 (20/s)  steps 6000 (500/s)  12 s",
    ]


def test_a_terminal_shows_bars_over_the_metrics_of_the_last_round() -> None:
    reporter, text = live()
    reporter.start("maze (runs/maze)", rounds=2, done=0)
    reporter.tick("updating", 3, 10)
    reporter.round(metrics(1))
    reporter.note("stopping after this round")
    reporter.round(metrics(2, **{"eval/return": 0.5}))
    reporter.finish()
    shown = text.getvalue()
    for line in (
        "training maze (runs/maze)",
        "round    1  updates 40  steps 1000  2 s",
        "stopping after this round",
        "round    2  eval return 0.500  updates 80 (20/s)  steps 2000 (500/s)  4 s",
        "2/2",
    ):
        assert line in shown


def test_brackets_in_names_are_shown_as_they_are() -> None:
    reporter, text = live()
    reporter.start("maze (runs/[a][/b])", rounds=1, done=0)
    reporter.note("damaged: runs/[a][/b]")
    reporter.finish()
    assert "training maze (runs/[a][/b])" in text.getvalue()
    assert "damaged: runs/[a][/b]" in text.getvalue()


def test_without_a_terminal_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(make_reporter(), PlainReporter)

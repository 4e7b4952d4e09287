"""Plots of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.figure
import pytest

from amago_core.acting.evaluation_result import Attempt, Evaluation
from amago_core.run_folder.plots import plot_adaptation, plot_learning, plot_run
from amago_core.run_folder.run_dir import RunDir

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    """Return the figures that are saved from now on."""
    saved = []
    save = matplotlib.figure.Figure.savefig

    def spy(self: matplotlib.figure.Figure, *args: Any, **settings: Any) -> None:
        saved.append(self)
        save(self, *args, **settings)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", spy)
    return saved


def lines(axes: Any) -> dict[str, list[tuple[float, float]]]:
    return {
        line.get_label(): list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in axes.lines
    }


def evaluation(*returns: float, success: float = 1.0) -> Evaluation:
    attempts = tuple(Attempt(8, success, total, 0.1) for total in returns)
    return Evaluation(8, sum(returns), 0.0, None, 10.0, attempts)


def test_a_learning_curve_leaves_out_missing_values(tmp_path: Path, figures: Any) -> None:
    records = [
        {"env_steps": 10, "return": None, "success": None},
        {"env_steps": 20, "return": 1.0, "success": None, "eval/return": 3.0, "eval/success": None},
        {"env_steps": 30, "return": 2.0, "success": None},
    ]
    plot_learning(records, tmp_path / "curve.png")
    (axes,) = figures[0].axes
    assert lines(axes) == {"while collecting": [(20, 1), (30, 2)], "evaluation": [(20, 3)]}
    assert (tmp_path / "curve.png").read_bytes().startswith(PNG)


def test_success_has_a_panel_where_it_is_recorded(tmp_path: Path, figures: Any) -> None:
    records = [{"env_steps": 5, "return": 1.0, "success": 0.5, "eval/return": 1, "eval/success": 0.75}]
    plot_learning(records, tmp_path / "curve.png")
    _, axes = figures[0].axes
    assert lines(axes) == {"while collecting": [(5, 0.5)], "evaluation": [(5, 0.75)]}


@pytest.mark.parametrize("records", [[], [{"env_steps": 10, "return": None, "success": None}]])
def test_a_run_without_any_return_can_be_plotted(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    plot_learning(records, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(PNG)


def test_attempts_are_counted_from_one(tmp_path: Path, figures: Any) -> None:
    plot_adaptation(evaluation(0.25, 0.5), tmp_path / "adaptation.png")
    (axes,) = figures[0].axes
    assert lines(axes)["return"] == [(1, 0.25), (2, 0.5)]
    assert lines(axes)["success"] == [(1, 1), (2, 1)]


def test_success_that_equals_return_is_plotted_once(tmp_path: Path, figures: Any) -> None:
    plot_adaptation(evaluation(1, 1), tmp_path / "adaptation.png")
    (axes,) = figures[0].axes
    assert "success" not in lines(axes)


def test_a_run_is_plotted_as_far_as_it_has_records(tmp_path: Path) -> None:
    folder = RunDir(tmp_path)
    plot_run(folder, evaluation())
    assert list(tmp_path.iterdir()) == []
    folder.metrics.write_text(json.dumps({"env_steps": 1, "return": 1.0, "success": None}) + "\n")
    plot_run(folder, evaluation(1, 2))
    assert {path.name for path in tmp_path.glob("*.png")} == {"learning_curve.png", "adaptation.png"}


def test_a_run_without_steps_is_plotted_over_updates(tmp_path: Path, figures: Any) -> None:
    records = [
        {
            "env_steps": 0,
            "update": 5,
            "loss": 2.0,
            "return": None,
            "eval/return": 1,
            "eval/success": 0.5,
        },
        {"env_steps": 0, "update": 10, "loss": 1.0, "return": None},
    ]
    plot_learning(records, tmp_path / "curve.png")
    total, success = figures[0].axes
    assert lines(total) == {"evaluation": [(5, 1)]}
    assert lines(success) == {"evaluation": [(5, 0.5)]}
    assert total.get_xlabel() == "updates"


def test_a_run_without_returns_plots_the_loss(tmp_path: Path, figures: Any) -> None:
    records = [{"env_steps": 0, "update": 5 * n, "loss": 1 / n, "return": None} for n in (1, 2)]
    plot_learning(records, tmp_path / "curve.png")
    (axes,) = figures[0].axes
    assert lines(axes) == {"while learning": [(5, 1.0), (10, 0.5)]}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("updates", "loss")

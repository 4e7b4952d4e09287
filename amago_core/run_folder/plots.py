"""Plots of a run: learning curve and adaptation curve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from amago_core.acting.evaluation_result import Attempt, Evaluation
    from amago_core.run_folder.run_dir import RunDir


_COLLECTED, _EVALUATED = "#9aa5b1", "#1f5fa8"


def plot_run(folder: RunDir, evaluation: Evaluation | None) -> None:
    """Plot the learning curve and, for tasks of several attempts, the adaptation curve."""
    if folder.metrics.exists():
        lines = folder.metrics.read_text(encoding="utf-8").splitlines()
        plot_learning([json.loads(line) for line in lines], folder.learning_curve)
    if evaluation is not None and len(evaluation.shared_attempts) > 1:
        plot_adaptation(evaluation, folder.adaptation)


def plot_learning(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Plot the learning curve: return and success where they are recorded, else the loss.

    The x axis is environment steps, or updates where no steps are taken.
    """
    known = {name for record in records for name, value in record.items() if value is not None}
    quantities = [
        (name, label)
        for name, label in (("return", "return per trajectory"), ("success", "success"))
        if known & {name, f"eval/{name}"}
    ] or [("loss", "loss")]
    x_axis = ("env_steps", "environment steps")
    if not any(record["env_steps"] for record in records):
        x_axis = ("update", "updates")
    figure = Figure(figsize=(5.2 * len(quantities), 3.6), layout="constrained")
    for number, (name, label) in enumerate(quantities):
        axes = figure.add_subplot(1, len(quantities), number + 1)
        phase = "while learning" if name == "loss" else "while collecting"
        _curve(axes, records, x_axis[0], name, phase, _COLLECTED)
        _curve(axes, records, x_axis[0], f"eval/{name}", "evaluation", _EVALUATED, marker="o")
        axes.set_xlabel(x_axis[1])
        axes.set_ylabel(label)
        if axes.lines:
            axes.legend(frameon=False)
        _style(axes)
    _save(figure, path)


def plot_adaptation(evaluation: Evaluation, path: Path) -> None:
    """Plot the adaptation curve: return (95 % interval) and success by attempt at the same task."""
    shared = evaluation.shared_attempts
    attempts = range(1, len(shared) + 1)
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    returns = [attempt.total for attempt in shared]
    successes = [attempt.success for attempt in shared]
    marker = "o" if len(returns) <= 30 else ""
    axes.plot(attempts, returns, color=_EVALUATED, marker=marker, markersize=4, label="return")
    low, high = zip(*[_interval(attempt) for attempt in shared], strict=True)
    axes.fill_between(attempts, low, high, color=_EVALUATED, alpha=0.15, linewidth=0)
    if successes != returns:
        axes.plot(attempts, successes, color=_COLLECTED, marker=marker, markersize=4, label="success")
    axes.set_xlabel("attempt at the same hidden task")
    axes.set_ylabel(f"mean over {evaluation.episodes} tasks")
    axes.legend(frameon=False)
    _style(axes)
    _save(figure, path)


def _interval(attempt: Attempt) -> tuple[float, float]:
    half = 1.96 * attempt.standard_error
    return attempt.total - half, attempt.total + half


def _curve(
    axes: Axes,
    records: Sequence[dict[str, Any]],
    x_name: str,
    name: str,
    label: str,
    color: str,
    marker: str = "",
) -> None:
    points = [(r[x_name], r[name]) for r in records if r.get(name) is not None]
    if points:
        positions, values = zip(*points, strict=True)
        axes.plot(positions, values, color=color, marker=marker, markersize=4, label=label)


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=130)

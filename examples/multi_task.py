"""Two tasks whose rewards differ by a factor of 1000, learned with two objectives.

Usage: python examples/multi_task.py --seeds 0 1 2

Trains multi-task.yaml as it is, and once more with the base objective and its PopArt critic. Every few
rounds each task is evaluated on its own. Prints a table and draws multi-task.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

import amago_core

HERE = Path(__file__).parent
SPEC = HERE / "multi-task.yaml"
ROUNDS, STAGE = 60, 6
OBJECTIVES: dict[str, tuple[str, list[str]]] = {
    "amago2": ("#1f5fa8", []),
    "amago": (
        "#c4524a",
        [
            "agent.objective={use: amago, n_step: 3, tau: 0.01}",
            "agent.critic={use: ensemble, hidden_dims: [128, 128]}",
        ],
    ),
}


class Task(NamedTuple):
    """One task of the mixture, evaluated on its own.

    Args:
        title: Of its panel.
        weights: What leaves nothing else in the mixture.
        random: Return of uniformly random actions.
        best: Return of a policy that knows what is hidden.
    """

    title: str
    weights: str
    random: float
    best: float


TASKS = (
    # Three of four actions cost 1000 / 5 on each of 5 steps; one in 4^6 trajectories finds the goal.
    Task("t-maze, x 1000", "[1, 0]", -750.0, 1000.0),
    # The mean, and the expected largest, of 3 draws from U[0, 1); 12 pulls.
    Task("bandit, x 1", "[0, 1]", 12 / 2, 12 * 3 / 4),
)


class Point(NamedTuple):
    """One evaluation of a run.

    Args:
        updates: Optimiser steps before it.
        returns: Mean return of each task.
    """

    updates: int
    returns: tuple[float, ...]


def curve(overrides: list[str], seed: int, run: Path) -> list[Point]:
    """Train one run in stages; evaluate every task after each, on tasks the run has not met."""
    points = []
    for rounds in range(STAGE, ROUNDS + 1, STAGE):
        words = [*overrides, f"seed={seed}", f"training.rounds={rounds}", "evaluation.every=0"]
        result = amago_core.train(SPEC, words, run=run, resume=rounds > STAGE)
        points.append(Point(result.updates, tuple(evaluated(run, task) for task in TASKS)))
    print(
        f"| {run.name} | {' | '.join(f'{value:.1f}' for value in points[-1].returns)} "
        f"| {result.env_steps:,} | {result.updates:,} | {result.cpu_seconds:.0f} |",
        flush=True,
    )
    return points


def evaluated(run: Path, task: Task) -> float:
    """Return the mean return of one task of the mixture."""
    overrides = [f"environment.weights={task.weights}", "evaluation.episodes=200"]
    return amago_core.evaluate(run, overrides).mean_return


def draw(axes: Axes, task: Task, number: int, curves: dict[str, list[list[Point]]]) -> None:
    """Draw one panel: return over updates, as a share of the best."""
    for name, runs in curves.items():
        for index, points in enumerate(runs):
            axes.plot(
                [point.updates for point in points],
                [point.returns[number] / task.best for point in points],
                color=OBJECTIVES[name][0],
                linewidth=1,
                label=name if index == 0 else None,
            )
    axes.axhline(1, color="#373e48", linewidth=0.8, linestyle=":", label="knows what is hidden")
    axes.axhline(task.random / task.best, color="#9aa5b1", linewidth=0.8, linestyle=":", label="random")
    axes.set_title(task.title, fontsize=10)
    axes.set_xlabel("updates")
    axes.set_ylabel("share of the best return")
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Train, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/multi-task"), help="folder of the runs")
    given = parser.parse_args()
    print("| run | t-maze | bandit | steps | updates | CPU seconds |\n|---|---|---|---|---|---|")
    curves = {
        name: [curve(overrides, seed, given.runs / f"{name}-{seed}") for seed in given.seeds]
        for name, (_, overrides) in OBJECTIVES.items()
    }
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    for number, task in enumerate(TASKS):
        draw(figure.add_subplot(1, len(TASKS), number + 1), task, number, curves)
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(HERE / "multi-task.png", dpi=130)


if __name__ == "__main__":
    main()

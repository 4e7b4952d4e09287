"""``amago evaluate``: a trained agent on tasks it has not met."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from amago_core.spec import load_spec
from amago_core.tables import table
from amago_core.threads import announce_threads

if TYPE_CHECKING:
    from amago_core.evaluation import Evaluation


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
def command(run: Path, overrides: tuple[str, ...]) -> None:
    """Evaluate the newest checkpoint of RUN, the folder of a run.

    OVERRIDES are key=value, as in: amago evaluate runs/t-maze evaluation.episodes=500
    """
    spec = run / "spec.yaml"
    if spec.is_file():
        announce_threads(load_spec(spec, overrides, local_environment=True).running.threads)
    from amago_core.evaluating import evaluate_run

    click.echo(summary(run, evaluate_run(run, overrides)))


def summary(run: Path, evaluation: Evaluation) -> str:
    """Return the result in a few lines."""
    length = ("episodes", f"{evaluation.episodes:,} of {evaluation.length:.1f} steps")
    return table([length, *evaluation_rows(evaluation), ("run", str(run))])


def evaluation_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return what an evaluation came to, as names and values."""
    rows = [("return", f"{evaluation.mean_return:.3f} +- {evaluation.standard_error:.3f}")]
    if evaluation.success is not None:
        rows.append(("success", f"{evaluation.success:.3f}"))
    if evaluation.adaptation is not None:
        first, last = evaluation.adaptation
        rows.append(
            ("adaptation", f"{first:.3f} in the first tenth of the attempts, {last:.3f} in the last")
        )
    return rows

"""``amago evaluate``: evaluate a checkpoint of a run on new tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from amago_core.cli.tables import table
from amago_core.errors import SpecError
from amago_core.system.threads import announce_threads
from amago_registry.errors import did_you_mean

if TYPE_CHECKING:
    from amago_core.acting.evaluation_result import Evaluation
    from amago_core.run_folder.evaluate_run import Evaluated


_NAMES_NONE = (
    "names no checkpoint. Write --checkpoint best, --checkpoint newest, the number of a round, or a "
    "folder."
)


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--checkpoint",
    metavar="CHECKPOINT",
    help="newest (the default); best, that of the best evaluation during training; the number of a "
    "round, such as 20; or a folder.",
)
@click.pass_context
def command(
    context: click.Context, run: Path, overrides: tuple[str, ...], checkpoint: str | None
) -> None:
    """Evaluate the newest checkpoint of RUN, the folder of a run.

    KEY=VALUE overrides a key of the spec, as in: amago evaluate runs/t-maze evaluation.episodes=500

    The tasks are held out: they differ from those of training and of its evaluations. The return is
    printed with its standard error, and the result is written to RUN/evaluations.
    """
    from amago_core.run_folder.evaluation_spec import evaluation_spec
    from amago_core.run_folder.run_dir import RunDir

    old_checkpoint, changes = split_words(overrides)
    if checkpoint == "":
        raise SpecError(f"--checkpoint {_NAMES_NONE}")
    folder = RunDir(run)
    folder.check()
    announce_threads(evaluation_spec(folder, changes).running.threads)
    from amago_core.run_folder.evaluate_run import evaluate_checkpoint

    checkpoint = (old_checkpoint or "newest") if checkpoint is None else checkpoint
    try:
        evaluated = evaluate_checkpoint(run, changes, checkpoint=checkpoint)
    except KeyboardInterrupt:
        click.echo("Stopped; no evaluation was written.", err=True)
        context.exit(130)
    click.echo(summary(evaluated))


def split_words(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Separate the old word ``checkpoint=`` from the overrides; it still works for one more version.

    Returns:
        Which checkpoint to evaluate or None, and the overrides of the spec.

    Raises:
        SpecError: If ``checkpoint=`` has no value, or the word is misspelt.
    """
    checkpoint: str | None = None
    changes = list[str]()
    for word in words:
        key, equals, value = word.partition("=")
        if key == "checkpoint" and equals:
            if not value:
                raise SpecError(f"'checkpoint=' {_NAMES_NONE}")
            checkpoint = value
            click.echo(
                "checkpoint=... is now written --checkpoint ...; the old form still works for one more "
                "version.",
                err=True,
            )
        elif _resembles_checkpoint(key):
            raise SpecError(
                f"'{word}' has no effect on an evaluation. Did you mean '--checkpoint {value}'?"
            )
        else:
            changes.append(word)
    return checkpoint, changes


def _resembles_checkpoint(key: str) -> bool:
    """Return whether a key is a misspelt ``checkpoint``, or the section ``checkpoints``."""
    if "." in key:
        return False
    from amago_core.spec import RunSpec

    known = RunSpec.model_fields.keys() - {"checkpoints"}
    return key not in known and did_you_mean(key, [*known, "checkpoint"]).endswith("'checkpoint'?")


def summary(evaluated: Evaluated) -> str:
    """Return the result of an evaluation as a table."""
    evaluation = evaluated.evaluation
    checkpoint = f"{evaluated.checkpoint} (round {evaluated.round}, update {evaluated.update})"
    return table(
        [
            ("episodes", f"{evaluation.episodes:,} of {evaluation.length:.1f} steps"),
            *evaluation_rows(evaluation),
            ("checkpoint", checkpoint),
            ("written to", str(evaluated.file)),
        ]
    )


def evaluation_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return the metrics of an evaluation as rows of name and value."""
    rows = [("return", f"{evaluation.mean_return:.3f} +- {evaluation.standard_error:.3f}")]
    if evaluation.success is not None:
        rows.append(("success", f"{evaluation.success:.3f}"))
    if evaluation.adaptation is not None:
        first, last = evaluation.adaptation
        rows.append(
            (
                "adaptation",
                f"{first:.3f} in the first tenth of the attempts, {last:.3f} in the last tenth",
            )
        )
    for task in evaluation.tasks:
        success = "" if task.success is None else f", success {task.success:.3f}"
        of_task = f"{task.mean_return:.3f} +- {task.standard_error:.3f}{success}"
        rows.append((f"return of {task.name}", f"{of_task}, {task.episodes:,} episodes"))
    return rows

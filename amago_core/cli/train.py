"""``amago train``: train an agent from a spec; start or resume a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from amago_core.cli.evaluate import evaluation_rows
from amago_core.cli.tables import table
from amago_core.errors import SpecError
from amago_core.spec import load_spec
from amago_core.system.threads import announce_threads, ranks_of_torchrun

if TYPE_CHECKING:
    from amago_core.running.result import Result


_STOPPED_AT_ONCE = "Stopped at once. The same command with --resume continues from the last checkpoint."


@click.command("train")
@click.argument("spec")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--run", "run", metavar="FOLDER", help="Folder of the run; by default runs/ and the spec's name."
)
@click.option("--resume", is_flag=True, help="Resume the run in that folder from its last checkpoint.")
@click.pass_context
def command(
    context: click.Context, spec: str, overrides: tuple[str, ...], run: str | None, resume: bool
) -> None:
    """Train an agent as specified in SPEC, a YAML file.

    KEY=VALUE overrides a key of the spec, as in: amago train t-maze.yaml agent.backbone=gru seed=1

    Ctrl-C finishes the round, saves a checkpoint and stops; a second Ctrl-C stops at once.
    """
    old_run, old_resume, changes = split_words(overrides)
    if run == "":
        raise SpecError("--run names no folder. Write --run FOLDER, as in '--run runs/first'.")
    if run is not None and old_run is not None:
        raise SpecError(f"--run {run} and run={old_run} are both given: leave run={old_run} out.")
    run, resume = old_run if run is None else run, resume or old_resume
    resolved = load_spec(spec, changes)
    if resolved.running.mode == "interleaved":  # Otherwise each process sets its own.
        announce_threads(resolved.running.threads)
    from amago_core.running.train import run_folder, train

    try:
        result = train(resolved, run=run, resume=resume)
    except KeyboardInterrupt:
        saved = run_folder(resolved, run).exists()
        click.echo(_STOPPED_AT_ONCE if saved else "Stopped; nothing was stored.", err=True)
        context.exit(130)
    if ranks_of_torchrun()[0] > 0:
        return
    click.echo(summary(result))
    if result.stopped == "interrupted":
        click.echo("Stopped after saving. The same command with --resume continues the run.", err=True)
        context.exit(130)


def split_words(words: Sequence[str]) -> tuple[str | None, bool, list[str]]:
    """Separate the old words ``run=`` and ``resume=`` from the overrides.

    They still work for one more version.

    Returns:
        The run's folder or None, whether to resume, and the overrides of the spec.

    Raises:
        SpecError: If ``run=`` or ``resume=`` has no valid value.
    """
    run: str | None = None
    resume = False
    changes: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if key == "run" and equals:
            if not value:
                raise SpecError("'run=' names no folder. Write --run FOLDER, as in '--run runs/first'.")
            run = value
            _warn_old_form("run=FOLDER", "--run FOLDER")
        elif key == "resume" and equals:
            if value not in ("true", "false"):
                raise SpecError(
                    f"'{word}' is neither 'resume=true' nor 'resume=false'. Write --resume."
                )
            resume = value == "true"
            _warn_old_form(word, "--resume" if resume else "by leaving out --resume")
        else:
            changes.append(word)
    return run, resume, changes


def _warn_old_form(old: str, new: str) -> None:
    click.echo(f"{old} is now written {new}; the old form still works for one more version.", err=True)


def summary(result: Result) -> str:
    """Return the result of a run as a table."""
    rows = [] if result.evaluation is None else evaluation_rows(result.evaluation)
    rows += [
        ("experience", f"{result.env_steps:,} steps, {result.updates:,} updates"),
        ("time", f"{result.seconds:.1f} s, {result.cpu_seconds:.1f} s of CPU time"),
        ("memory", f"{result.peak_bytes / 2**20:,.0f} MiB at the peak"),
        ("run", str(result.run)),
    ]
    rows += [("plot", str(path)) for path in sorted(result.run.glob("*.png"))]
    return table(rows)

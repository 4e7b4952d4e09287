"""``amago train``: a run, from a spec to its plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from amago_core.cli.evaluate import evaluation_rows
from amago_core.cli.tables import table
from amago_core.errors import SpecError
from amago_core.spec import load_spec
from amago_core.system.threads import announce_threads, ranks_of_torchrun

if TYPE_CHECKING:
    from amago_core.running.result import Result


_STOPPED_AT_ONCE = (
    "Stopped at once. The same command with resume=true goes on from the last checkpoint."
)


@click.command("train")
@click.argument("spec")
@click.argument("overrides", nargs=-1)
@click.pass_context
def command(context: click.Context, spec: str, overrides: tuple[str, ...]) -> None:
    """Train the agent of SPEC.

    OVERRIDES are key=value, as in: amago train t-maze.yaml agent.backbone=gru seed=1

    Two more words are understood: run=FOLDER says where the run is kept (runs/NAME), and resume=true
    goes on with the run in that folder. Ctrl-C stops after saving.
    """
    run, resume, changes = split_words(overrides)
    resolved = load_spec(spec, changes)
    if resolved.running.mode == "interleaved":  # Otherwise other processes compute, each with its own.
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
        click.echo("Stopped and saved. The same command with resume=true goes on.", err=True)
        context.exit(130)


def split_words(words: tuple[str, ...]) -> tuple[str | None, bool, list[str]]:
    """Return the run's folder, whether to resume, and the overrides of the spec.

    Raises:
        SpecError: If ``run`` or ``resume`` has no usable value.
    """
    run: str | None = None
    resume = False
    changes: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if key == "run" and equals:
            run = value
            if not value:
                raise SpecError("'run=' names no folder. Write run=FOLDER, as in 'run=runs/first'.")
        elif key == "resume" and equals:
            if value not in ("true", "false"):
                raise SpecError(f"'{word}' is neither 'resume=true' nor 'resume=false'.")
            resume = value == "true"
        else:
            changes.append(word)
    return run, resume, changes


def summary(result: Result) -> str:
    """Return what a run came to, in a few lines."""
    rows = [] if result.evaluation is None else evaluation_rows(result.evaluation)
    rows += [
        ("experience", f"{result.env_steps:,} steps, {result.updates:,} updates"),
        ("time", f"{result.seconds:.1f} s, {result.cpu_seconds:.1f} s of processor time"),
        ("memory", f"{result.peak_bytes / 2**20:,.0f} MiB at most"),
        ("run", str(result.run)),
    ]
    rows += [("plot", str(path)) for path in sorted(result.run.glob("*.png"))]
    return table(rows)

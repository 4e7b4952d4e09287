"""``amago check``: validate a spec, and print it with its parts and their sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from amago_core.cli.tables import table
from amago_core.spec import load_spec, spec_yaml
from amago_core.system.threads import announce_threads

if TYPE_CHECKING:
    from amago_core.compose.summary import Row


@click.command("check")
@click.argument("spec")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def command(spec: str, overrides: tuple[str, ...]) -> None:
    """Validate SPEC without training: print it resolved, and a table of its parts.

    Resolved means with all defaults and overrides. The networks are built to count their parameters.

    KEY=VALUE overrides a key of the spec, as in: amago check t-maze.yaml agent.backbone=gru
    """
    resolved = load_spec(spec, overrides)
    click.echo(spec_yaml(resolved))
    announce_threads(resolved.running.threads)
    from amago_core.compose.summary import context_note, rows
    from amago_core.run_folder.transfer import compose_from
    from amago_core.spec.checks import spec_notes

    composition, transfer = compose_from(resolved)
    click.echo(parts_table(rows(resolved, composition)))
    for note in (context_note(resolved, composition.task), *spec_notes(resolved)):
        if note is not None:
            click.echo(f"\n{note}")
    if transfer is not None:
        click.echo(f"\n{transfer}")


def parts_table(rows: Sequence[Row]) -> str:
    """Return the table of parts, with the sum of parameters below."""
    cells = [(row.part, row.use, row.shape_in, row.shape_out, f"{row.parameters:,}") for row in rows]
    total = sum(row.parameters for row in rows)
    header = ("part", "plugin/name", "in", "out", "parameters")
    return table([*cells, ("total", "", "", "", f"{total:,}")], header=header)

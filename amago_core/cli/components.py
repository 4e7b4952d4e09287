"""``amago components``: list the parts that a spec can name."""

from __future__ import annotations

import click

from amago_core.cli.tables import table
from amago_registry.catalog import Catalog, installed
from amago_registry.kinds import KINDS


@click.command("components")
@click.argument("kind", required=False)
def command(kind: str | None) -> None:
    """List the installed parts that a spec can name, or those of one KIND.

    For example: amago components backbone
    """
    catalog = installed()
    chosen = [kind] if kind is not None else [name for name in KINDS if catalog.entries(name)]
    click.echo("\n\n".join(_listing(catalog, name) for name in chosen))
    if catalog.broken:
        names = ", ".join(plugin.name for plugin in catalog.broken)
        click.echo(f"\nBroken plugins: {names}. `amago plugins` shows their errors.", err=True)


def _listing(catalog: Catalog, kind: str) -> str:
    rows = [
        (catalog.short_name(entry), entry.plugin, entry.component.summary)
        for entry in catalog.entries(kind)
    ]
    title = f"{kind}: {KINDS[kind].summary}"
    others = catalog.not_installed(kind)
    more = f"\n  not installed: {', '.join(others)} (pip install ./plugins/NAME)" if others else ""
    return f"{title}\n{table(rows, indent='  ') if rows else '  none installed'}{more}"

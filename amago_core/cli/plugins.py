"""``amago plugins``: list the installed plugins, and the errors of broken ones."""

from __future__ import annotations

import click

from amago_core.cli.tables import table
from amago_registry.catalog import installed
from amago_registry.discovery import Plugin


@click.command("plugins")
def command() -> None:
    """List the installed plugins, broken ones included."""
    plugins = installed().plugins
    if not plugins:
        click.echo("No plugin is installed; `pip install amago-standard` installs the standard parts.")
        return
    rows = [(plugin.name, plugin.distribution, plugin.version, _state(plugin)) for plugin in plugins]
    click.echo(table(rows, header=("plugin", "distribution", "version", "state")))


def _state(plugin: Plugin) -> str:
    if plugin.broken is not None:
        return f"broken: {plugin.broken}"
    count = len(plugin.offers)
    return "1 part" if count == 1 else f"{count} parts"

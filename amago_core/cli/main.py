"""Entry point of the command line: imports a command when it is called, so listings need no torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from amago_core import __version__
from amago_core.errors import notes_of
from amago_registry.errors import AmagoError, did_you_mean

_COMMANDS = {
    "train": "Train an agent as specified in SPEC, a YAML file.",
    "evaluate": "Evaluate the newest checkpoint of RUN, the folder of a run.",
    "check": "Validate SPEC without training: print it resolved, and a table of its parts.",
    "components": "List the installed parts that a spec can name, or those of one KIND.",
    "explain": "Explain the options of a part, or the keys of a section of the spec.",
    "plugins": "List the installed plugins, broken ones included.",
    "replay": "Summarize, verify or extend the replay in FOLDER, the folder of a run or of a replay.",
}
"""First sentence of each command's help, repeated here so that the list imports no command."""


class UserError(click.ClickException):
    """Error of the user: one message without traceback, exit code 2."""

    exit_code = 2


class LazyGroup(click.Group):
    """Click group that imports a command from :mod:`amago_core.cli` when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"amago_core.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest the closest one if it does not exist."""
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            close = did_you_mean(args[0], _COMMANDS)
            ctx.fail(f"there is no command '{args[0]}'.{close} Commands: {', '.join(_COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of commands in the help, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn an :class:`AmagoError` into a :class:`UserError`."""
        try:
            return super().invoke(ctx)
        except AmagoError as error:
            raise UserError("\n".join([str(error), *notes_of(error)])) from error


@click.group(
    cls=LazyGroup,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="amago", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Train in-context reinforcement learning agents from specs."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """Run the command line."""
    cli(prog_name="amago")

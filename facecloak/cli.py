"""The `facecloak` command: the root group, how commands join it, and how errors leave it.

Commands live with what they drive and join through the entry-point group `facecloak.commands`: each entry is a callable
`register(root)`. A plugin that cannot be imported costs only its own commands.

Exit codes: 0 done; 1 refused or failed, one line on standard error says why; 2 wrong usage.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import IO, Any

import click

from facecloak import __version__
from facecloak.errors import FaceCloakError
from facecloak.extras import extra_for

PLUGIN_GROUP = "facecloak.commands"


class Refused(click.ClickException):
    """Ends a command with one line on standard error and exit code 1."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Prints the line."""
        click.echo(f"facecloak: {' '.join(self.message.split())}", file=file, err=file is None)


class RootGroup(click.Group):
    """A group whose commands may raise FaceCloakError, or miss a module of an extra that is not installed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command and turns what it refuses into one line and exit code 1."""
        try:
            return super().invoke(ctx)
        except FaceCloakError as error:
            raise Refused(f"{error.public_message} ({error.reason})") from error
        except ModuleNotFoundError as error:
            extra = extra_for(error)
            if extra is None:
                raise
            raise Refused(f"this command needs {error.name}: pip install 'facecloak[{extra}]'") from error


def build_cli() -> click.Group:
    """The root group with `serve` and every installed plugin."""
    root = RootGroup(
        name="facecloak",
        help="Personal masks that keep face recognition from matching photos to a person.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root = click.version_option(__version__, prog_name="facecloak")(root)
    root.add_command(click.Group("serve", help="Run a service in the foreground."))
    for entry in sorted(entry_points(group=PLUGIN_GROUP), key=lambda entry: entry.name):
        _add_plugin(root, entry)
    return root


def main() -> None:
    """Entry point of the `facecloak` script."""
    build_cli()(prog_name="facecloak")


def _add_plugin(root: click.Group, entry: EntryPoint) -> None:
    try:
        register = entry.load()
    except (ImportError, AttributeError) as error:
        # The others must go on working, and whoever asks for this one must learn why it is not there.
        root.add_command(_unavailable(entry, reason=str(error)))
        return
    register(root)


def _unavailable(entry: EntryPoint, *, reason: str) -> click.Command:
    @click.command(
        entry.name,
        help=f"(unavailable: {entry.value} cannot be imported)",
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> None:
        raise Refused(f"{entry.value} cannot be imported: {reason}")

    return command


if __name__ == "__main__":
    main()

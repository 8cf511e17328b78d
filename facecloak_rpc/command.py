"""The command that runs a service in the foreground: `facecloak serve NAME` and `python -m NAME_service`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from facecloak.errors import FaceCloakError
from facecloak_rpc.environment import InvalidSettings, refuse_unknown
from facecloak_rpc.settings import RpcSettings, describe

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
Settings = TypeVar("Settings", bound=RpcSettings)


def load_settings(settings_class: type[Settings], /, *, data: Path | None = None, **given: Any) -> Settings:
    """Reads the environment; what is ``given`` and not None goes before it. ``data`` is the store's data folder.

    Raises:
        InvalidSettings: names the first variable or field at fault.
    """
    refuse_unknown(settings_class)
    overrides = {name: value for name, value in given.items() if value is not None}
    try:
        settings = settings_class(**overrides)
        if data is None:
            return settings
        store = settings.store.in_folder(data)  # type: ignore[attr-defined]
        return settings.model_copy(update={"store": store})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        # A contradiction belongs to no one field.
        where = f"setting {field}: " if field else "settings: "
        raise InvalidSettings(where + first["msg"].removeprefix("Value error, "), field=field) from error


def serve_command(
    name: str, *, summary: str, settings_class: Callable[[], type[RpcSettings]], run: Callable[[Any], int]
) -> click.Command:
    """Makes the command.

    Args:
        settings_class: imports and returns the settings' class; a function, so that `--help` stays quick.
        run: serves until a signal and returns the exit status.
    """

    @click.command(name, help=summary)
    @click.option("--host", help="Address to listen on.")
    @click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
    @click.option("--metrics-port", type=click.IntRange(0, 65535), help="Port of /metrics; 0 turns it off.")
    @click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder for masks and their key.")
    @click.option("--tls-cert", type=_FILE, help="PEM file of the server's certificate chain; needs --tls-key.")
    @click.option("--tls-key", type=_FILE, help="PEM file of the certificate's private key.")
    @click.option("--client-ca", type=_FILE, help="PEM file of the authorities of callers' certificates (mutual TLS).")
    @click.option(
        "--insecure-listen", is_flag=True, default=None,
        help="Listen beyond this machine although nothing of the service's own protects the port.",
    )  # fmt: skip
    @click.option("--print-config", is_flag=True, help="Print all settings with what they mean, and end.")
    def command(
        *, host: str | None, port: int | None, metrics_port: int | None, data: Path | None, tls_cert: Path | None,
        tls_key: Path | None, client_ca: Path | None, insecure_listen: bool | None, print_config: bool,
    ) -> None:  # fmt: skip
        files = {"certificate": tls_cert, "key": tls_key, "client_ca": client_ca}
        tls = {name: path for name, path in files.items() if path is not None}
        settings = load_settings(
            settings_class(), data=data, host=host, port=port, metrics_port=metrics_port, tls=tls or None,
            insecure_listen=insecure_listen,
        )  # fmt: skip
        if print_config:
            click.echo(describe(settings), nl=False)
            return
        from facecloak_rpc.logging import configure_logging

        configure_logging(log_format=settings.log_format, level=settings.log_level)
        status = run(settings)
        click.get_current_context().exit(status)

    return command


def run_as_program(command: click.Command, *, prog_name: str) -> None:
    """Runs the command as a program of its own, with the exit codes of `facecloak`."""
    try:
        command.main(prog_name=prog_name)
    except FaceCloakError as error:
        click.echo(f"{prog_name}: {' '.join(error.public_message.split())} ({error.reason})", err=True)
        sys.exit(1)

"""The options of commands that call a server: --tls, --ca, --cert, --key and --header."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from facecloak.errors import FaceCloakError

Command = TypeVar("Command", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def connection_options(command: Command) -> Command:
    """Adds the options to a command, which gets them as one ``connection``
    (:class:`facecloak_rpc.connection.Connection`)."""

    @click.option("--tls", is_flag=True, help="Connect with TLS, and check the service's certificate.")
    @click.option("--ca", type=_FILE, help="PEM file of the authorities to trust; by default those that gRPC ships.")
    @click.option("--cert", "certificate", type=_FILE, help="PEM file of a client certificate to show the service.")
    @click.option("--key", type=_FILE, help="PEM file of the client certificate's private key.")
    @click.option(
        "--header", "headers", multiple=True, metavar="NAME:VALUE",
        help="Header of every call, such as 'authorization: Bearer ...'; @FILE as value reads it from a file.",
    )  # fmt: skip
    @functools.wraps(command)
    def with_connection(
        *args: Any, tls: bool, ca: Path | None, certificate: Path | None, key: Path | None, headers: tuple[str, ...],
        **others: Any,
    ) -> Any:  # fmt: skip
        from facecloak_rpc.connection import Connection, header_from

        try:
            connection = Connection(
                tls=tls, ca=ca, certificate=certificate, key=key, headers=tuple(map(header_from, headers))
            )
        except FaceCloakError as error:
            raise click.UsageError(error.public_message) from error
        if connection != Connection() and not others.get("target", True):
            raise click.UsageError("--tls, --ca, --cert, --key and --header are for --target")
        return command(*args, connection=connection, **others)

    return with_connection  # type: ignore[return-value]

"""`facecloak serve triton`: a real Triton server for developers."""

from __future__ import annotations

import os
from pathlib import Path

import click

from facecloak.models.repository import DEFAULT_FOLDER, FOLDER_VARIABLE
from facecloak.recognizers.triton.profiles import CPU


def register(root: click.Group) -> None:
    """Adds `serve triton`."""
    serve = root.commands.get("serve")
    if isinstance(serve, click.Group):
        serve.add_command(serve_triton)


@click.command("triton")
@click.option("--repository", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT_FOLDER,
              envvar=FOLDER_VARIABLE, show_default=True, show_envvar=True,
              help="The folder of models; config.pbtxt is written into it.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--grpc-port", type=click.IntRange(1, 65535), default=8001, show_default=True)
@click.option("--http-port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 turns HTTP off.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 turns it off.")
@click.option("--threads", type=click.IntRange(0, 256), default=CPU.threads, show_default=True,
              help="CPU threads within one operator; 0 is one a core.")  # fmt: skip
@click.option("--name", "names", multiple=True, help="Serve this recognizer only; may be repeated.")
@click.option("--verbose", is_flag=True, help="Log every request, without contents.")
def serve_triton(
    *, repository: Path, host: str, grpc_port: int, http_port: int, metrics_port: int, threads: int,
    names: tuple[str, ...], verbose: bool,
) -> None:  # fmt: skip
    """Serve the recognizers by a real Triton on this machine's CPU, until SIGTERM.

    For development and tests: brings the server that PyPI has (55 MB, once) and writes config.pbtxt of the profile
    cpu. In production run NVIDIA's image on a repository that `facecloak models build` wrote.
    """
    from dataclasses import replace

    from facecloak.models.repository import ModelRepository
    from facecloak.recognizers.triton.dev_server.install import install, installed
    from facecloak.recognizers.triton.dev_server.serving import ServingOptions, server_command, server_environment
    from facecloak.recognizers.triton.write_repository import build_repository

    built = build_repository(ModelRepository(repository), profile=replace(CPU, threads=threads), names=names)
    if installed() is None:
        click.echo("bringing the Triton server (55 MB)", err=True)
    installation = install()
    options = ServingOptions(
        repository=built.root, models=built.models, host=host, grpc_port=grpc_port, http_port=http_port,
        metrics_port=metrics_port, verbose=verbose,
    )  # fmt: skip
    command = server_command(installation, options)
    # In place of this process, so that signals and the exit status are Triton's own.
    os.execve(command[0], command, server_environment(installation))

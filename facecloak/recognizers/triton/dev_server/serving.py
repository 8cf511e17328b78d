"""How the bundled server is started: its command line and its environment."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from facecloak.recognizers.triton.dev_server.install import TritonInstallation


@dataclass(frozen=True)
class ServingOptions:
    """Where and what a server serves.

    Attributes:
        repository: a folder that ``models build`` wrote.
        models: names to load; the folder may hold others.
        host: address to listen on.
        grpc_port, http_port, metrics_port: 0 for the last two turns them off.
        exit_seconds: time that requests in flight get after SIGTERM.
        verbose: Triton's own log of every request, without contents.
    """

    repository: Path
    models: tuple[str, ...]
    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 0
    metrics_port: int = 0
    exit_seconds: int = 30
    verbose: bool = False


def server_command(installation: TritonInstallation, options: ServingOptions) -> list[str]:
    """The command line of tritonserver.

    Models are loaded by name, as ``--model-control-mode=explicit`` wants it: a repository holds face finders too, which
    no server needs, and a model whose process died can be unloaded and loaded again without a restart.
    """
    command = [
        str(installation.binary),
        f"--model-repository={options.repository.resolve()}",
        f"--backend-directory={installation.backends}",
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in options.models),
        "--disable-auto-complete-config",
        "--exit-on-error=true",
        f"--exit-timeout-secs={options.exit_seconds}",
        f"--grpc-address={options.host}",
        f"--grpc-port={options.grpc_port}",
    ]
    command += _optional("http", options.host, options.http_port)
    command += _optional("metrics", options.host, options.metrics_port)
    return [*command, "--log-verbose=1"] if options.verbose else command


def server_environment(installation: TritonInstallation) -> dict[str, str]:
    """This process's environment and what the server needs to find its libraries and this Python."""
    libraries = [str(installation.libraries), sysconfig.get_config_var("LIBDIR") or ""]
    return {
        **os.environ,
        # The backend's processes take the Python that they find first.
        "PATH": _joined([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "LD_LIBRARY_PATH": _joined([*libraries, os.environ.get("LD_LIBRARY_PATH", "")]),
    }


def _optional(what: str, host: str, port: int) -> list[str]:
    if not port:
        return [f"--allow-{what}=false"]
    return [f"--allow-{what}=true", f"--{what}-address={host}", f"--{what}-port={port}"]


def _joined(folders: Iterable[str]) -> str:
    return os.pathsep.join(folder for folder in folders if folder)

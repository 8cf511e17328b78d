"""A Triton server as a child process: started on free ports, awaited, stopped. For the demo, tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from facecloak.recognizers.triton.dev_server.install import TritonInstallation
from facecloak.recognizers.triton.dev_server.serving import ServingOptions, server_command, server_environment
from facecloak.recognizers.triton.errors import TritonUnavailable
from facecloak.recognizers.triton.write_repository import BuiltRepository

START_SECONDS = 300.0
STOP_SECONDS = 40.0
_ATTEMPTS = 3


@dataclass
class TritonProcess:
    """A server that runs, or ran."""

    process: subprocess.Popen[bytes]
    options: ServingOptions
    log: Path
    _ended: bool = field(default=False, init=False, repr=False)

    @property
    def url(self) -> str:
        """``host:port`` of its gRPC."""
        return f"{self.options.host}:{self.options.grpc_port}"

    def stop(self) -> None:
        """SIGTERM; requests in flight finish. SIGKILL where that takes too long."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, to the backends' processes too: they outlive a server that was killed. Nothing finishes."""
        if self._ended:
            return
        self._ended = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # it leads a session of its own, see start_server
        self.process.wait(STOP_SECONDS)


def start_server(
    installation: TritonInstallation, built: BuiltRepository, *, log: Path, grpc_port: int = 0, exit_seconds: int = 30
) -> TritonProcess:
    """Start a server on 127.0.0.1 and wait until all its models are ready.

    Args:
        log: the file that its output is added to.
        grpc_port: 0 takes a free one.

    Raises:
        TritonUnavailable: it ended, or was not ready in time; says the last line of its log.
    """
    options = ServingOptions(built.root, built.models, exit_seconds=exit_seconds)
    # Triton does not take port 0, and between looking for a free port and using it another may have it.
    for attempt in range(1, _ATTEMPTS + 1):
        options = replace(options, grpc_port=grpc_port or _free_port())
        with log.open("ab") as output:
            process = subprocess.Popen(
                server_command(installation, options),
                env=server_environment(installation),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C belongs to whoever started it.
                start_new_session=True,
            )
        server = TritonProcess(process, options, log)
        try:
            _wait_ready(server)
        except BaseException as error:
            server.kill()
            if "already in use" in str(error) and attempt < _ATTEMPTS and not grpc_port:
                continue
            raise
        break
    return server


@contextlib.contextmanager
def running_server(installation: TritonInstallation, built: BuiltRepository, *, log: Path) -> Iterator[TritonProcess]:
    """:func:`start_server` for the time of a block."""
    server = start_server(installation, built, log=log)
    try:
        yield server
    finally:
        server.stop()


def _wait_ready(server: TritonProcess) -> None:
    from tritonclient.grpc import InferenceServerClient
    from tritonclient.utils import InferenceServerException

    deadline = time.monotonic() + START_SECONDS
    with InferenceServerClient(server.url) as client:
        while server.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(InferenceServerException):
                if client.is_server_ready(client_timeout=2.0):
                    return
            time.sleep(0.1)
    ended = server.process.poll() is not None
    what = f"ended with status {server.process.returncode}" if ended else "did not become ready"
    raise TritonUnavailable(f"the Triton server {what}: {_last_error(server.log)}")


def _last_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() or [""]
    errors = [line for line in lines if line.startswith("E")]  # glog's first letter is the severity
    return (errors or lines)[-1].strip()[:300]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

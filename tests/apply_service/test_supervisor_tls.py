"""TLS with several worker processes on one port: each of them follows the files."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from facecloak_rpc.connection import Connection
from facecloak_rpc.health import health_of
from tests.certificates import Authority

pytestmark = pytest.mark.slow


def eventually(condition: Callable[[], bool], seconds: float = 120.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def serials(port: int, authority: Authority) -> set[int]:
    """Of the certificates that 16 new connections are shown: the kernel gives them to any of the workers."""
    shown = (ssl.get_server_certificate(("localhost", port), ca_certs=str(authority.path)) for _ in range(16))
    return {x509.load_pem_x509_certificate(pem.encode()).serial_number for pem in shown}


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_all_workers_follow_the_certificate(tmp_path: Path, model_repository: Path, free_port: int) -> None:
    authority = Authority(tmp_path / "pki")
    pair = authority.server()
    settings = {
        "FACECLOAK_APPLY_PORT": str(free_port), "FACECLOAK_APPLY_PROCESSES": "2",
        "FACECLOAK_APPLY_STORE__DATA": str(tmp_path), "FACECLOAK_MODEL_REPOSITORY": str(model_repository.resolve()),
        "FACECLOAK_APPLY_TLS__CERTIFICATE": str(pair.certificate), "FACECLOAK_APPLY_TLS__KEY": str(pair.key),
        "FACECLOAK_APPLY_LOG_LEVEL": "error",
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "apply_service"], env=os.environ | settings)
    try:
        target, connection = f"localhost:{free_port}", Connection(ca=authority.path)
        assert eventually(lambda: health_of(target, service="live", connection=connection) == "SERVING")
        assert health_of(target, service="live") == "UNAVAILABLE"
        before = serials(free_port, authority)
        assert len(before) == 1
        authority.server()  # writes the same files
        assert eventually(lambda: not serials(free_port, authority) & before, 30)
        assert len(serials(free_port, authority)) == 1
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)

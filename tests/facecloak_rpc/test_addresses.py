"""Hosts as people write them, and the proxy that gRPC takes without a word."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from facecloak_client.targets import target_of
from facecloak_rpc.addresses import bare_host, has_ipv6, host_and_port
from facecloak_rpc.health import health_of
from facecloak_rpc.proxies import proxy_before
from facecloak_rpc.server import AddressInUse
from facecloak_rpc.settings import RpcSettings

ROOT = Path(__file__).resolve().parents[2]
needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("127.0.0.1:50061", "127.0.0.1:50061"), ("[::1]:50061", "[::1]:50061"), ("::1:50061", "[::1]:50061"),
        ("fe80::1%eth0:50061", "[fe80::1%eth0]:50061"), ("2001:db8::7:50061", "[2001:db8::7]:50061"),
        ("localhost:50061", "localhost:50061"), ("dns:///apply.svc:50062", "dns:///apply.svc:50062"),
        ("ipv6:[::1]:5", "ipv6:[::1]:5"), ("unix:/run/apply", "unix:/run/apply"),
    ],
)  # fmt: skip
def test_targets(given: str, target: str) -> None:
    assert target_of(given) == target


@pytest.mark.parametrize(
    ("given", "bare", "address"),
    [
        ("::1", "::1", "[::1]:5"), ("[::1]", "::1", "[::1]:5"), ("::", "::", "[::]:5"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1:5"), ("localhost", "localhost", "localhost:5"),
    ],
)  # fmt: skip
def test_hosts(given: str, bare: str, address: str) -> None:
    assert bare_host(given) == RpcSettings(host=given, insecure_listen=True).host == bare
    assert host_and_port(bare, 5) == address


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "reached_by"),
    [
        ("::1", ["[::1]"]), ("[::1]", ["[::1]"]), ("127.0.0.1", ["127.0.0.1"]), ("localhost", ["localhost"]),
        ("::", ["[::1]", "127.0.0.1"]), ("[::]", ["[::1]", "127.0.0.1"]), ("0.0.0.0", ["[::1]", "127.0.0.1"]),
    ],
)  # fmt: skip
def test_calls_metrics_and_probes_go_to_the_same_addresses(make_echo: Any, host: str, reached_by: list[str]) -> None:
    echo = make_echo()
    echo.start(RpcSettings(host=host, metrics_port=free_port(), insecure_listen=True))
    try:
        assert echo.call() == "hi"
        for address in reached_by:
            assert health_of(f"{address}:{echo.server.port}") == "SERVING"
            url = f"http://{address}:{echo.server.metrics_port}/metrics"
            assert b"facecloak_ready 1.0" in urllib.request.urlopen(url, timeout=5).read()
        if host == "::1":
            assert health_of(f"::1:{echo.server.port}") == "SERVING"
    finally:
        echo.channel.close()
        echo.server.stop(grace_seconds=0)


def test_a_metrics_port_that_is_taken_says_so(make_echo: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"/metrics cannot listen at 127.0.0.1:{port}: Address already in use"):
            make_echo().start(RpcSettings(metrics_port=port))


PROXY = {"http_proxy": "http://user:hush@proxy.example:3128"}


@pytest.mark.parametrize(
    ("environment", "is_used"),
    [
        ({}, False), (PROXY, True), ({"HTTP_PROXY": "http://proxy.example:3128"}, False),
        ({"https_proxy": "http://proxy.example:3128"}, True), ({"grpc_proxy": "http://proxy.example"}, True),
        ({"http_proxy": "proxy.example:3128"}, False),
        (PROXY | {"no_proxy": "localhost"}, False), (PROXY | {"no_proxy": "x, LOCALHOST"}, False),
        (PROXY | {"no_proxy": "host"}, False), (PROXY | {"no_proxy": "*"}, True), (PROXY | {"no_proxy": ""}, True),
        (PROXY | {"no_grpc_proxy": "x", "no_proxy": "localhost"}, True),
    ],
)  # fmt: skip
def test_the_proxy_that_grpc_takes(environment: dict[str, str], *, is_used: bool) -> None:
    """The table was tried with gRPC 1.81, which the last test of this page does with one of its rows."""
    text = proxy_before("localhost:50061", environment)
    assert bool(text) is is_used
    assert "hush" not in text
    if is_used:
        assert "to localhost:50061 goes through the proxy proxy.example:" in text


def test_ranges_of_addresses_are_excepted() -> None:
    environment = PROXY | {"no_proxy": "10.0.0.0/8,127.0.0.0/8"}
    assert not proxy_before("127.0.0.1:1", environment)
    assert proxy_before("192.168.0.1:1", environment)


@pytest.mark.parametrize("command", ["client", "health"])
def test_an_error_names_the_proxy_that_swallowed_the_call(echo: Any, command: str) -> None:
    dead = f"127.0.0.1:{free_port()}"
    target = echo.server.target
    arguments = ["-m", "facecloak_rpc.health", target] if command == "health" else [
        "-m", "facecloak.cli", "delete", "--user", "alice", "--target", target,
    ]  # fmt: skip
    others = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60,
        env=others | {"http_proxy": f"http://{dead}"},
    )  # fmt: skip
    assert done.returncode == 1
    assert f"the connection to {target} goes through the proxy {dead} of http_proxy" in done.stderr
    assert "Source Location" not in done.stderr
    if command == "health":
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=others)
        assert (done.returncode, done.stdout.strip()) == (0, "SERVING")

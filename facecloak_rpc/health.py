"""Asks a server's health from outside: `python -m facecloak_rpc.health HOST:PORT`, for what has no gRPC probe."""

from __future__ import annotations

import sys

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from facecloak_rpc.client import open_channel
from facecloak_rpc.connection import Connection
from facecloak_rpc.connection_options import connection_options
from facecloak_rpc.proxies import proxy_before


def health_of(
    target: str, *, service: str = "", timeout_seconds: float = 5.0, connection: Connection | None = None
) -> str:
    """How the server at ``target`` is: SERVING, NOT_SERVING, ..., or the status of a call that failed.

    Args:
        service: name within the server; "" is the server as a whole, ``live`` its process, ``undegraded`` the server
            with all that it depends on.
    """
    with open_channel(target, connection=connection) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_seconds)
        except grpc.RpcError as error:
            return error.code().name if isinstance(error, grpc.Call) else "UNKNOWN"
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


@click.command()
@click.argument("target", metavar="HOST:PORT")
@click.option("--service", default="", help="Name within the server, such as live or facecloak.v1.ApplyService.")
@click.option("--timeout", "timeout_seconds", type=click.FloatRange(min=0.1), default=5.0, show_default=True)
@connection_options
def main(*, target: str, service: str, timeout_seconds: float, connection: Connection) -> None:
    """Exit code 0 if it is SERVING, else 1, and the answer."""
    answer = health_of(target, service=service, timeout_seconds=timeout_seconds, connection=connection)
    click.echo(answer)
    if answer not in ("SERVING", "NOT_SERVING") and (proxy := proxy_before(target)):
        click.echo(proxy, err=True)
    sys.exit(answer != "SERVING")


if __name__ == "__main__":
    main()

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from facecloak.masks.mask import Mask
from facecloak.stores import MaskNotFound, S3Connection, S3MaskStore, Sealer, StoreUnavailable

MakeMask = Callable[[int], Mask]


def store_at(connection: S3Connection, sealer: Sealer, bucket: str = "masks") -> S3MaskStore:
    return S3MaskStore(connection.client(), bucket=bucket, sealer=sealer)


def assert_every_call_fails_within(seconds: float, store: S3MaskStore, mask: Mask) -> None:
    for call in (
        lambda: store.get("alice"),
        lambda: store.put("alice", mask),
        lambda: store.delete("alice"),
        lambda: store.version("alice"),
        store.probe,
    ):
        start = time.monotonic()
        with pytest.raises(StoreUnavailable) as refusal:
            call()
        assert time.monotonic() - start < seconds
        assert "127.0.0.1" not in refusal.value.public_message


def test_a_server_that_goes_away(own_s3, sealer: Sealer, make_mask: MakeMask) -> None:
    store = S3MaskStore(own_s3.client, bucket=own_s3.bucket, sealer=sealer)
    store.put("alice", make_mask(1))
    own_s3.process.kill()
    own_s3.process.wait()
    assert_every_call_fails_within(5, store, make_mask(2))


def test_a_server_that_never_answers(sealer: Sealer, make_mask: MakeMask) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        connection = S3Connection(
            endpoint=f"127.0.0.1:{silent.getsockname()[1]}", access_key="a", secret_key="b", secure=False,
            connect_timeout_s=0.2, read_timeout_s=0.3,
        )  # fmt: skip
        assert_every_call_fails_within(3, store_at(connection, sealer), make_mask(1))


@contextmanager
def answering(reply: bytes) -> Iterator[S3Connection]:
    """A server that gives every request the same ``reply``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(65536)
                    peer.sendall(reply)

        threading.Thread(target=serve, daemon=True).start()
        yield S3Connection(
            endpoint=f"127.0.0.1:{listener.getsockname()[1]}", access_key="a", secret_key="b", secure=False,
            connect_timeout_s=0.5, read_timeout_s=0.5,
        )  # fmt: skip
        listener.shutdown(socket.SHUT_RDWR)


HTML = b"<html>Bad gateway</html>"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 503 Slow Down\r\nRetry-After: 3600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 24\r\nConnection: close\r\n\r\n"
        + HTML,
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: 24\r\nConnection: close\r\n\r\n"
        + HTML,
        b"HTTP/1.1 400 Bad\r\nContent-Type: application/xml\r\nContent-Length: 2\r\nConnection: close\r\n\r\n\xff\xfe",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
    ],
    ids=["throttled", "proxy", "not-xml", "not-text", "not-http", "closed"],
)
def test_answers_that_are_not_s3s(reply: bytes, sealer: Sealer, make_mask: MakeMask) -> None:
    with answering(reply) as connection:
        assert_every_call_fails_within(5, store_at(connection, sealer), make_mask(1))


def test_an_answer_that_breaks_off(sealer: Sealer) -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\nConnection: close\r\n\r\nFCS1") as connection:  # noqa: SIM117
        with pytest.raises(StoreUnavailable):
            store_at(connection, sealer).get("alice")


def test_wrong_credentials(s3, sealer: Sealer, make_mask: MakeMask) -> None:
    stranger = dataclasses.replace(s3.connection, secret_key="x" * 32)
    assert_every_call_fails_within(3, store_at(stranger, sealer, s3.bucket), make_mask(1))


def test_no_such_bucket(s3, sealer: Sealer, make_mask: MakeMask) -> None:
    store = store_at(s3.connection, sealer, "no-such-bucket")
    for call in (lambda: store.get("alice"), lambda: store.put("alice", make_mask(1)), store.probe):
        with pytest.raises(StoreUnavailable):
            call()


def test_prefixes_keep_apart(s3, sealer: Sealer, make_mask: MakeMask) -> None:
    one = S3MaskStore(s3.client, bucket=s3.bucket, sealer=sealer, prefix="/one/")
    two = S3MaskStore(s3.client, bucket=s3.bucket, sealer=sealer, prefix="two")
    one.put("alice", make_mask(1))
    with pytest.raises(MaskNotFound):
        two.get("alice")
    assert one.delete("alice")


def test_the_secret_is_not_in_the_repr() -> None:
    assert "hush" not in repr(S3Connection(endpoint="h", access_key="a", secret_key="hush"))

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from minio.versioningconfig import ENABLED, VersioningConfig

from facecloak.call_context import within
from facecloak.masks.mask import Mask
from facecloak.stores import MaskNotFound, S3Connection, S3MaskStore, Sealer, StoreUnavailable
from facecloak.stores.faults import advice_for
from facecloak.stores.s3 import sockets
from tests.stores.faulty_s3 import FaultyS3
from tests.users import ALICE, NOBODY

MakeMask = Callable[[int], Mask]


def store_at(connection: S3Connection, sealer: Sealer, bucket: str = "masks") -> S3MaskStore:
    return S3MaskStore(connection.client(), bucket=bucket, sealer=sealer)


def every_call(store: S3MaskStore, mask: Mask) -> list[Callable[[], object]]:
    return [
        lambda: store.get(ALICE), lambda: store.version(ALICE), lambda: store.delete(ALICE),
        lambda: store.put(ALICE, mask), store.probe, store.probe_reading, store.prove_writing,
    ]  # fmt: skip


def assert_every_call_fails_within(seconds: float, store: S3MaskStore, mask: Mask) -> None:
    for call in every_call(store, mask):
        start = time.monotonic()
        with pytest.raises(StoreUnavailable) as refusal:
            call()
        assert time.monotonic() - start < seconds
        assert "127.0.0.1" not in refusal.value.public_message


def test_a_server_that_goes_away(own_s3, sealer: Sealer, make_mask: MakeMask) -> None:
    store = S3MaskStore(own_s3.client, bucket=own_s3.bucket, sealer=sealer)
    store.put(ALICE, make_mask(1))
    own_s3.process.kill()
    own_s3.process.wait()
    assert_every_call_fails_within(5, store, make_mask(2))


def test_a_server_that_never_answers(sealer: Sealer, make_mask: MakeMask) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        connection = S3Connection(
            endpoint=f"127.0.0.1:{silent.getsockname()[1]}", access_key="a", secret_key="b", secure=False,
            connect_timeout_s=0.2, read_timeout_s=0.3, call_timeout_s=1.0,
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
            store_at(connection, sealer).get(ALICE)


def test_wrong_credentials(s3, sealer: Sealer, make_mask: MakeMask) -> None:
    stranger = dataclasses.replace(s3.connection, secret_key="x" * 32)
    assert_every_call_fails_within(3, store_at(stranger, sealer, s3.bucket), make_mask(1))


def test_no_such_bucket(s3, sealer: Sealer, make_mask: MakeMask) -> None:
    store = store_at(s3.connection, sealer, "no-such-bucket")
    for call in every_call(store, make_mask(1)):
        with pytest.raises(StoreUnavailable) as refusal:
            call()
        assert refusal.value.fault == "NoSuchBucket"
        assert "make the bucket" in refusal.value.advice


def test_prefixes_keep_apart(s3, sealer: Sealer, make_mask: MakeMask) -> None:
    one = S3MaskStore(s3.client, bucket=s3.bucket, sealer=sealer, prefix="/one/")
    two = S3MaskStore(s3.client, bucket=s3.bucket, sealer=sealer, prefix="two")
    one.put(ALICE, make_mask(1))
    with pytest.raises(MaskNotFound):
        two.get(ALICE)
    assert one.delete(ALICE)


def test_a_wrong_prefix_is_no_store(s3, sealer: Sealer, make_mask: MakeMask) -> None:
    S3MaskStore(s3.client, bucket=s3.bucket, sealer=sealer, prefix="right").put(ALICE, make_mask(1))
    wrong = S3MaskStore(s3.client, bucket=s3.bucket, sealer=sealer, prefix="wrong", begins=False)
    for call in (lambda: wrong.get(ALICE), lambda: wrong.delete(ALICE), wrong.probe_reading):
        with pytest.raises(StoreUnavailable) as refusal:
            call()
        assert refusal.value.fault == "NoStoreHere"


def test_the_secret_is_not_in_the_repr() -> None:
    assert "hush" not in repr(S3Connection(endpoint="h", access_key="a", secret_key="hush"))


NOT_S3 = ["html404", "html200", "empty404", "redirect"]
CODES = [
    "NoSuchBucket", "AccessDenied", "RequestTimeTooSkewed", "ExpiredToken", "PermanentRedirect", "TemporaryRedirect",
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed", "SlowDown", "InternalError",
]  # fmt: skip


@pytest.mark.parametrize("mode", [*NOT_S3, *CODES, "NoSuchOtherKey"])
def test_what_is_no_answer_is_no_absence(faulty: FaultyS3, s3, sealer: Sealer, make_mask: MakeMask, mode: str) -> None:
    store = S3MaskStore(faulty.connection.client(), bucket=s3.bucket, sealer=sealer, prefix=f"faults-{mode}")
    store.put(ALICE, make_mask(1))
    faulty.mode = mode
    fault = "NotS3" if mode in NOT_S3 else "WrongObject" if mode == "NoSuchOtherKey" else mode
    reads = [
        lambda: store.get(NOBODY),
        lambda: store.version(NOBODY),
        lambda: store.delete(NOBODY),
    ]
    for call in [*every_call(store, make_mask(2)), *reads]:
        with pytest.raises(StoreUnavailable) as refusal:
            call()
        assert (refusal.value.fault, refusal.value.advice) == (fault, advice_for(fault))
        assert refusal.value.metadata == {"fault": fault}
        assert refusal.value.advice
    faulty.mode = "pass"
    assert store.get(ALICE).seed == 1


def slow_store(faulty: FaultyS3, bucket: str, sealer: Sealer, **limits: float) -> S3MaskStore:
    connection = dataclasses.replace(faulty.connection, **limits)
    return S3MaskStore(connection.client(), bucket=bucket, sealer=sealer, prefix=secrets.token_hex(4))


@pytest.mark.parametrize(
    ("mode", "fault"),
    [("hang", "Timeout"), ("drip", "Timeout"), ("drip_head", "Timeout"), ("close", "ConnectionBroken")],
)
def test_every_call_ends_in_its_time(
    faulty: FaultyS3, s3, sealer: Sealer, make_mask: MakeMask, mode: str, fault: str
) -> None:
    store = slow_store(faulty, s3.bucket, sealer, read_timeout_s=0.5, call_timeout_s=0.6)
    store.put(ALICE, make_mask(1))
    faulty.mode = mode
    with pytest.raises(StoreUnavailable) as refusal:
        store.get(ALICE)
    assert refusal.value.fault == fault
    if mode != "drip":  # the one byte that a version takes comes in time
        assert_every_call_fails_within(5, store, make_mask(2))


@pytest.mark.parametrize("mode", ["hang", "drip", "drip_head"])
def test_a_callers_deadline_is_kept(faulty: FaultyS3, s3, sealer: Sealer, make_mask: MakeMask, mode: str) -> None:
    store = slow_store(faulty, s3.bucket, sealer, read_timeout_s=30, call_timeout_s=30)
    store.put(ALICE, make_mask(1))
    faulty.mode = mode
    began = time.monotonic()
    with within(0.4), pytest.raises(StoreUnavailable) as refusal:
        store.get(ALICE)
    assert refusal.value.fault == "Timeout"
    assert 0.3 < time.monotonic() - began < 1.5


def test_a_put_whose_answer_is_lost_is_read_back(faulty: FaultyS3, s3, sealer: Sealer, make_mask: MakeMask) -> None:
    store = slow_store(faulty, s3.bucket, sealer)
    store.put(ALICE, make_mask(1))
    faulty.only = frozenset({"PUT"})
    faulty.mode = "lost"
    store.put(ALICE, make_mask(2))
    assert store.get(ALICE).seed == 2
    faulty.mode = "hang"
    with pytest.raises(StoreUnavailable):
        store.put(ALICE, make_mask(3))
    assert store.get(ALICE).seed == 2


def test_a_put_that_only_seems_to_be_done_is_not_believed_to_be_read(
    faulty: FaultyS3, s3, sealer: Sealer, make_mask: MakeMask
) -> None:
    store = slow_store(faulty, s3.bucket, sealer)
    store.put(ALICE, make_mask(1))
    faulty.only = frozenset({"PUT"})
    faulty.mode = "swallow"
    with pytest.raises(StoreUnavailable):
        store.prove_writing()


def test_a_delete_whose_answer_is_lost_tells_the_truth(
    faulty: FaultyS3, s3, sealer: Sealer, make_mask: MakeMask
) -> None:
    store = slow_store(faulty, s3.bucket, sealer)
    store.put(ALICE, make_mask(1))
    faulty.only = frozenset({"DELETE"})
    faulty.mode = "hang"
    with pytest.raises(StoreUnavailable):
        store.delete(ALICE)
    faulty.mode = "swallow"
    with pytest.raises(StoreUnavailable) as refusal:
        store.delete(ALICE)
    assert refusal.value.fault == "NotRemoved"
    # The tombstone is there by then: what is left is served to nobody.
    with pytest.raises(MaskNotFound):
        store.get(ALICE)
    faulty.mode = "lost"
    assert store.delete(ALICE) is True
    assert store.delete(ALICE) is False


def test_a_name_that_does_not_resolve_in_time(sealer: Sealer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hanging(*_: object, **__: object) -> list[object]:
        asked.set()
        go_on.wait(10)
        return []

    monkeypatch.setattr(sockets.socket, "getaddrinfo", hanging)
    connection = S3Connection(endpoint="s3.example:9", access_key="a", secret_key="b", call_timeout_s=0.5)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as refusal:
        store_at(connection, sealer).get(ALICE)
    go_on.set()
    assert asked.is_set()
    assert refusal.value.fault == "NameNotResolved"
    assert time.monotonic() - began < 2


def test_a_versioned_bucket_keeps_no_trace_of_probes(own_s3, sealer: Sealer, make_mask: MakeMask) -> None:
    client = own_s3.client
    client.set_bucket_versioning(own_s3.bucket, VersioningConfig(ENABLED))
    store = S3MaskStore(client, bucket=own_s3.bucket, sealer=sealer, prefix="p")
    for _ in range(3):
        store.probe()
        store.probe_reading()
        store.prove_writing()
    found = client.list_objects(own_s3.bucket, recursive=True, include_version=True)
    assert [(one.object_name, one.is_delete_marker) for one in found] == [("p/key-check", False)]


def test_certificates_are_checked_and_tls_keeps_the_deadline(
    sealer: Sealer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = certificate_for_localhost(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip_by_tls, args=(listener, context), daemon=True).start()
        endpoint = f"localhost:{listener.getsockname()[1]}"
        connection = S3Connection(
            endpoint=endpoint, access_key="a", secret_key="b", attempts=1, call_timeout_s=1.0, read_timeout_s=30
        )
        with pytest.raises(StoreUnavailable) as refusal:
            store_at(connection, sealer).get(ALICE)
        assert refusal.value.fault == "TlsFailed"
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as refusal:
            store_at(connection, sealer).get(ALICE)
        assert refusal.value.fault == "Timeout"
        assert 0.8 < time.monotonic() - began < 3
        listener.shutdown(socket.SHUT_RDWR)


def drip_by_tls(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        with contextlib.suppress(OSError), context.wrap_socket(peer, server_side=True) as secured:
            secured.recv(65536)
            for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000:
                secured.sendall(bytes([byte]))
                time.sleep(0.05)


def certificate_for_localhost(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A file with the certificate to trust, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "localhost.pem"
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file.write_bytes(
        certificate.public_bytes(encoding) + key.private_bytes(encoding, form, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    return file, context

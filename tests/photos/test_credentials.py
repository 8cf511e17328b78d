"""Which certificates and keys sign."""

from __future__ import annotations

import datetime
import io
import threading

import cv2
import numpy as np
import pytest

from facecloak.photos.credentials import ALGORITHMS, Signer, SignerUnusable, SigningFailed
from facecloak.photos.credentials import certificates as module
from tests.photos.c2pa_files import chain, faults, manifests

pytest.importorskip("c2pa", reason="the extra `c2pa` is not installed")
PHOTO = cv2.imencode(".jpg", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_signs(algorithm: str) -> None:
    own = chain(algorithm)
    signer = Signer(own.certificates, own.key, algorithm=algorithm)
    assert signer.algorithm == algorithm
    signed = signer.signed(PHOTO, parent=PHOTO)
    assert signed is not None
    found = manifests(signed)
    assert faults(found) == set()
    (only,) = found["manifests"].values()
    assert only["signature"]["alg"].lower() == algorithm


def test_the_key_says_the_algorithm() -> None:
    own = chain("es384")
    assert Signer(own.certificates, own.key).algorithm == "es384"
    with pytest.raises(SignerUnusable, match="by this algorithm"):
        Signer(own.certificates, own.key, algorithm="es256")


def test_what_cannot_sign_is_refused_at_once() -> None:
    own, other, ended = chain(), chain(), chain(ended=True)
    with pytest.raises(SignerUnusable, match="not that of the first"):
        Signer(own.certificates, other.key)
    with pytest.raises(SignerUnusable, match="not valid now"):
        Signer(ended.certificates, ended.key)
    for certificates, key in ((b"", own.key), (own.certificates, b""), (b"\0\xff", own.key), (own.key, own.key)):
        with pytest.raises(SignerUnusable, match="no PEM files"):
            Signer(certificates, key)
    purpose = chain(for_signing=False)
    with pytest.raises(SignerUnusable):
        Signer(purpose.certificates, purpose.key)


def test_a_certificate_that_ends_while_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    own = chain()
    signer = Signer(own.certificates, own.key)
    lenient = Signer(own.certificates, own.key, unsigned_on_failure=True)

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime.datetime.now(tz) + datetime.timedelta(days=40)

    monkeypatch.setattr(module, "datetime", Later)
    with pytest.raises(SigningFailed) as failed:
        signer.signed(PHOTO, parent=PHOTO)
    assert failed.value.metadata == {"fault": "SIGNER_UNUSABLE"}
    assert lenient.signed(PHOTO, parent=PHOTO) is None


def test_no_errors_text_holds_the_key() -> None:
    own = chain()
    broken = own.key.replace(b"A", b"!", 3)
    with pytest.raises(SignerUnusable) as refused:
        Signer(own.certificates, broken)
    assert own.key.split(b"\n")[1].decode()[-20:] not in str(refused.value) + str(refused.value.metadata)


def test_photos_are_signed_side_by_side() -> None:
    own = chain()
    signer = Signer(own.certificates, own.key)
    done: list[bytes | None] = []

    def sign() -> None:
        done.extend(signer.signed(PHOTO, parent=PHOTO) for _ in range(10))

    threads = [threading.Thread(target=sign) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 40
    assert all(signed is not None and faults(manifests(signed)) == set() for signed in done[::8])


def test_a_file_of_no_format_is_not_signed() -> None:
    own = chain()
    with pytest.raises(SigningFailed):
        Signer(own.certificates, own.key).signed(io.BytesIO(b"BM" + bytes(60)).getvalue(), parent=PHOTO)

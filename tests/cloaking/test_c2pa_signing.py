"""Cloaked photos with a signed manifest, as the C2PA library's own reader verifies them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from facecloak.cloaking.cloaker import Cloaker, EncodingPath, Outcome, Subject
from facecloak.photos import DEFAULT_LIMITS
from facecloak.photos.companions.trailer import read_trailer
from facecloak.photos.credentials import Signer, SigningFailed
from facecloak.photos.jpeg_structure import read_structure
from facecloak.photos.multi_picture import with_true_places
from facecloak.photos.native_splice import is_available
from tests.cloaking.test_cloaker import ALICE, BOB, Masks, StubFinder, face_at
from tests.photos.c2pa_files import CAPTURE, chain, faults, manifest_state, manifests, signed_by_camera
from tests.photos.companion_files import ultra_hdr
from tests.photos.heif_files import ALL_FORMATS, avif, heic
from tests.photos.metadata.hidden import pictures

pytest.importorskip("c2pa", reason="the extra `c2pa` is not installed")


def scene() -> np.ndarray:
    small = np.random.default_rng(3).integers(30, 220, (40, 60, 3), np.uint8)
    return cv2.resize(small, (480, 320), interpolation=cv2.INTER_CUBIC)


def saved(kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(scene()).save(out, kind, **options)
    return out.getvalue()


def animated(kind: str) -> bytes:
    return saved(kind, save_all=True, append_images=[Image.fromarray(scene()[::-1])], duration=80)


KINDS = {
    "JPEG": ("image/jpeg", lambda: saved("JPEG", quality=92)),
    "progressive JPEG": ("image/jpeg", lambda: saved("JPEG", quality=92, progressive=True)),
    "Ultra HDR": ("image/jpeg", lambda: ultra_hdr(scene())),
    "PNG": ("image/png", lambda: saved("PNG")),
    "APNG": ("image/png", lambda: animated("PNG")),
    "WebP": ("image/webp", lambda: saved("WEBP", quality=90)),
    "lossless WebP": ("image/webp", lambda: saved("WEBP", lossless=True)),
    "animated WebP": ("image/webp", lambda: animated("WEBP")),
    "GIF": ("image/gif", lambda: saved("GIF")),
    "animated GIF": ("image/gif", lambda: animated("GIF")),
    "AVIF": ("image/avif", lambda: avif(scene(), quality=90)),
    "HEIC": ("image/heic", lambda: heic(scene())),
}


@pytest.fixture(scope="module")
def signer() -> Signer:
    own = chain()
    return Signer(own.certificates, own.key)


def cloaker(**options: Any) -> Cloaker:
    return Cloaker(StubFinder(face_at(120, 60)), Masks(alice=ALICE, bob=BOB), limits=ALL_FORMATS, **options)


def texts(value: Any) -> Iterator[str]:
    """All keys and texts in what JSON says."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize(("mime", "make"), KINDS.values(), ids=KINDS)
def test_a_cloaked_photo_says_that_it_was_edited(signer: Signer, mime: str, make: Any) -> None:
    photo = make()
    plain = cloaker().cloak(photo, [Subject("alice")])
    result = cloaker(signer=signer).cloak(photo, [Subject("alice")])
    assert result.subjects[0].outcome is Outcome.CLOAKED
    assert (plain.c2pa_signed, result.c2pa_signed) == (False, True)
    assert result.dropped == plain.dropped
    assert manifest_state(plain.photo, mime=mime) is None
    assert manifest_state(result.photo, mime=mime) == "Valid"
    found = manifests(result.photo, mime=mime)
    assert faults(found) == set()
    passed = {entry["code"] for entry in found["validation_results"]["activeManifest"]["success"]}
    assert passed & {"assertion.dataHash.match", "assertion.bmffHash.match"}
    (only,) = found["manifests"].values()
    actions = only["assertion_store"]["c2pa.actions.v2"]["actions"]
    assert [action["action"] for action in actions] == ["c2pa.opened", "c2pa.edited"]
    assert only["assertion_store"]["c2pa.ingredient.v3"] == {
        "relationship": "parentOf", "dc:title": "Photo before it was cloaked", "dc:format": mime,
        "instanceID": f"urn:sha256:{hashlib.sha256(photo).hexdigest()}",
    }  # fmt: skip
    assert not [text for text in texts(found["manifests"]) if "thumbnail" in text.lower()]
    # It comes again: known by its tag, and given back as it is.
    again = cloaker(signer=signer).cloak(result.photo, [Subject("alice")])
    assert (again.subjects[0].outcome, again.photo, again.c2pa_signed) == (
        Outcome.ALREADY_CLOAKED, result.photo, False,
    )  # fmt: skip


@pytest.mark.parametrize(("mime", "make"), KINDS.values(), ids=KINDS)
def test_one_changed_byte_shows(signer: Signer, mime: str, make: Any) -> None:
    photo = bytearray(cloaker(signer=signer).cloak(make(), [Subject("alice")]).photo)
    photo[-len(photo) // 3] ^= 1
    assert manifest_state(bytes(photo), mime=mime) == "Invalid"


@pytest.mark.parametrize(("mime", "make"), KINDS.values(), ids=KINDS)
def test_a_signed_photo_is_cloaked_for_another_and_signed_anew(signer: Signer, mime: str, make: Any) -> None:
    first = cloaker(signer=signer).cloak(make(), [Subject("alice")]).photo
    second = cloaker(signer=signer).cloak(first, [Subject("bob")])
    assert second.subjects[0].outcome is Outcome.CLOAKED
    found = manifests(second.photo, mime=mime)
    assert faults(found) == set()
    (only,) = found["manifests"].values()
    assert only["assertion_store"]["c2pa.ingredient.v3"]["instanceID"].endswith(hashlib.sha256(first).hexdigest())


def test_the_manifest_is_all_that_signing_adds(signer: Signer) -> None:
    if not is_available():
        pytest.skip("the splice codec was not built: no Rust compiler here")
    photo = saved("JPEG", quality=92)
    plain = cloaker().cloak(photo, [Subject("alice")])
    signed = cloaker(signer=signer).cloak(photo, [Subject("alice")])
    assert plain.encoding_path is signed.encoding_path is EncodingPath.SPLICED
    manifest = [part for part in read_structure(signed.photo, DEFAULT_LIMITS).metadata if part.marker == 0xEB]
    begin, end = manifest[0].begin, manifest[-1].begin + len(manifest[-1].data)
    assert sum(len(part.data) for part in manifest) == end - begin
    assert signed.photo[:begin] + signed.photo[end:] == plain.photo


def test_the_index_of_an_ultra_hdr_photo_is_true_and_signed(signer: Signer) -> None:
    signed = cloaker(signer=signer).cloak(ultra_hdr(scene()), [Subject("alice")]).photo
    assert b"MPF\0" in signed
    assert with_true_places(signed) == signed
    (gain_map,) = read_trailer(signed[read_structure(signed, DEFAULT_LIMITS).end :], DEFAULT_LIMITS).pictures
    assert signed.endswith(gain_map)


def test_of_a_cameras_manifest_nothing_stays(signer: Signer) -> None:
    """Its thumbnail is the uncloaked face, and so may be those of all its own ingredients."""
    face = saved("JPEG", quality=70)
    photo = signed_by_camera(saved("JPEG", quality=92), thumbnail=face)
    assert face in photo
    assert manifest_state(photo) == "Valid"
    result = cloaker(signer=signer).cloak(photo, [Subject("alice")])
    assert result.dropped == ("c2pa",)
    assert result.c2pa_signed
    assert manifest_state(result.photo) == "Valid"
    (only,) = manifests(result.photo)["manifests"].values()
    assert CAPTURE not in json.dumps(only)
    assert len(list(pictures(result.photo))) == 1


def test_nobody_cloaked_nothing_signed(signer: Signer) -> None:
    photo = saved("JPEG", quality=92)
    result = cloaker(signer=signer).cloak(photo, [Subject("nobody")])
    assert (result.photo, result.c2pa_signed) == (photo, False)


def test_a_photo_that_cannot_be_signed_is_refused_or_says_so() -> None:
    own = chain()
    photo = saved("JPEG", quality=92)
    nowhere = "http://127.0.0.1:1/timestamps"
    strict = Signer(own.certificates, own.key, timestamp_url=nowhere)
    with pytest.raises(SigningFailed):
        cloaker(signer=strict).cloak(photo, [Subject("alice")])
    lenient = Signer(own.certificates, own.key, timestamp_url=nowhere, unsigned_on_failure=True)
    result = cloaker(signer=lenient).cloak(photo, [Subject("alice")])
    assert result.subjects[0].outcome is Outcome.CLOAKED
    assert not result.c2pa_signed
    assert manifest_state(result.photo) is None

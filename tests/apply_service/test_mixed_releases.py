"""A rolling upgrade: masks of earlier releases are put on; those of later ones are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from facecloak.errors import ErrorCode
from facecloak.masks.bank import MaskBank
from facecloak.masks.mask import Mask, write_container
from facecloak.stores import envelope
from facecloak.stores.sealed import SealedMaskStore
from facecloak.users import User
from facecloak.v1 import apply_pb2
from facecloak_rpc.client import RemoteError, remote_errors

DAN = User("", "dan")


@dataclass(frozen=True)
class LaterMask:
    """What a later release would store: the bytes, as this one's store seals them."""

    data: bytes

    def to_bytes(self) -> bytes:
        return self.data


def some_mask() -> Mask:
    return Mask.new(np.random.default_rng(5).integers(-12, 13, (112, 112, 3)).astype(np.int8), seed=5)


def later(tensors: dict[str, np.ndarray] | None = None, **fields: object) -> LaterMask:
    mask = some_mask()
    return LaterMask(
        write_container(mask._tensors() | (tensors or {}), {"format_version": 1} | mask._fields() | fields)
    )


def bank_of_later_masks() -> LaterMask:
    files = {f"mask_{index:02d}": np.frombuffer(later(format_version=4).data, np.uint8) for index in range(2)}
    return LaterMask(write_container(files, {"format_version": 2, "secret": "00" * 32}))


def later_bank() -> LaterMask:
    bank = MaskBank((some_mask(), some_mask()), bytes(32))
    files = {f"mask_{at:02d}": np.frombuffer(mask.to_bytes(), np.uint8) for at, mask in enumerate(bank.masks)}
    return LaterMask(write_container(files, {"format_version": 2, "secret": "00" * 32, "choice": "by day"}))


LATER: dict[str, Callable[[], LaterMask]] = {
    "version": lambda: later(format_version=4),
    "field": lambda: later(sharpness=0.5),
    "tensor": lambda: later({"depth": np.zeros((28, 28), np.int8)}),
    "geometry": lambda: later(geometry="uv-224"),
    "bank of later masks": bank_of_later_masks,
    "later bank": later_bank,
}


def refused(service: Any, photo: bytes, *, require_cloaked: bool) -> RemoteError:
    asked = apply_pb2.ApplyCloakRequest(
        photo=photo, subjects=[apply_pb2.Subject(user_id="dan")], require_cloaked=require_cloaked
    )
    with pytest.raises(RemoteError) as refusal, remote_errors():
        service.stub.ApplyCloak(asked, timeout=30)
    return refusal.value


@pytest.mark.parametrize("require_cloaked", [True, False])
@pytest.mark.parametrize("kind", list(LATER))
def test_a_later_releases_mask_is_refused_by_name(
    service: Any, astronaut_photo: bytes, kind: str, require_cloaked: bool
) -> None:
    service.store.put(DAN, LATER[kind]())
    refusal = refused(service, astronaut_photo, require_cloaked=require_cloaked)
    assert (refusal.code, refusal.reason) == (ErrorCode.FAILED_PRECONDITION, "MASK_FORMAT_UNSUPPORTED")
    assert "later release" in refusal.public_message
    # Others are served as before, and so is this user once the mask is one that can be read.
    service.store.put(DAN, some_mask())
    assert answer_to(service, astronaut_photo).outcome == apply_pb2.CLOAK_OUTCOME_CLOAKED


@pytest.mark.parametrize("damage", ["magic", "format", "kind", "field"])
def test_so_is_one_that_is_sealed_in_a_later_way(service: Any, astronaut_photo: bytes, damage: str) -> None:
    store: SealedMaskStore = service.store
    store.put(DAN, some_mask())
    name = store.names().mask(DAN)
    sealed = store.place.read(name)
    assert sealed is not None
    old, new = {
        "magic": (b"FCS2", b"FCS3"),
        "format": (b'"format":2', b'"format":3'),
        "kind": (b'"kind":"mask"', b'"kind":"face"'),
        "field": (b'"format":2,"epoch":', b'"format":2,"epocs":'),
    }[damage]
    assert sealed.count(old) == 1
    store.place.write(name, sealed.replace(old, new))
    refusal = refused(service, astronaut_photo, require_cloaked=False)
    assert (refusal.code, refusal.reason) == (ErrorCode.FAILED_PRECONDITION, "MASK_FORMAT_UNSUPPORTED")
    store.delete(DAN)


def test_in_a_stream_it_is_that_photos_answer(service: Any, astronaut_photo: bytes) -> None:
    service.store.put(DAN, LATER["version"]())
    messages = [
        apply_pb2.ApplyCloakStreamRequest(
            sequence=number,
            request=apply_pb2.ApplyCloakRequest(photo=astronaut_photo, subjects=[apply_pb2.Subject(user_id=user)]),
        )
        for number, user in enumerate(["alice", "dan", "bob"])
    ]
    answers = {answer.sequence: answer for answer in service.stub.ApplyCloakStream(iter(messages), timeout=60)}
    assert [answers[number].WhichOneof("outcome") for number in range(3)] == ["response", "error", "response"]
    assert answers[1].error.message == "The mask was made by a later release than this service's."
    service.store.delete(DAN)


def answer_to(service: Any, photo: bytes, user: User = DAN) -> apply_pb2.SubjectResult:
    asked = apply_pb2.ApplyCloakRequest(photo=photo, subjects=[apply_pb2.Subject(user_id=user.user_id)])
    return service.stub.ApplyCloak(asked, timeout=30).subjects[0]


@pytest.mark.parametrize("release", ["before owners", "before data keys"])
def test_an_earlier_releases_mask_is_put_on(service: Any, astronaut_photo: bytes, release: str) -> None:
    store: SealedMaskStore = service.store
    user = User("", release)  # never deleted: objects without data keys count as those of the first epoch
    name, mask = store.names().mask(user), some_mask()
    match release:
        case "before owners":
            content = bytearray(store.names().secret + mask.to_bytes())
            epoch = store.epoch(user)
            sealed = envelope.seal(content, keyring=store.keyring, name=name, kind=envelope.Kind.MASK, epoch=epoch)
        case _:
            (key,) = store.keyring.key_ids()
            sealed = store.keyring.sealer(key).seal(mask.to_bytes(), name=name)
    store.place.write(name, sealed)
    answer = answer_to(service, astronaut_photo, user)
    assert (answer.outcome, answer.mask_id) == (apply_pb2.CLOAK_OUTCOME_CLOAKED, mask.mask_id)

"""The signer as the settings name it, and a service that signs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from apply_service.c2pa_signer import C2paSettings, WatchedSigner, load_signer, open_signer
from apply_service.checks import checks
from facecloak.photos.credentials import SignerUnusable
from facecloak.v1 import apply_pb2
from facecloak_rpc.findings import Verdict
from facecloak_rpc.watched_files import FileUnusable
from tests.photos.c2pa_files import Chain, chain, faults, manifest_state, manifests

pytest.importorskip("c2pa", reason="the extra `c2pa` is not installed")


def files(folder: Path, own: Chain) -> dict[str, Path]:
    """Settings of a chain and a key that nobody else can read."""
    certificates, key = folder / "chain.pem", folder / "key.pem"
    certificates.write_bytes(own.certificates)
    key.write_bytes(own.key)
    key.chmod(0o600)
    return {"certificates": certificates, "key": key}


@pytest.mark.parametrize(
    "fields",
    [
        {"certificates": "chain.pem"},
        {"key": "key.pem"},
        {"key_pem": "key"},
        {"certificates": "chain.pem", "key": "key.pem", "key_pem": "key"},
        {"timestamp_url": "http://127.0.0.1/"},
        {"certificates": "chain.pem", "key": "key.pem", "timestamp_url": "ftp://127.0.0.1/"},
        {"certificates": "chain.pem", "key": "key.pem", "algorithm": "rs256"},
    ],
    ids=str,
)
def test_settings_that_contradict_each_other(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        C2paSettings(**fields)


def test_no_certificate_no_signer() -> None:
    assert open_signer(C2paSettings()) is None


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    named = files(tmp_path, chain())
    assert load_signer(C2paSettings(**named)).algorithm == "es256"
    for mode in (0o640, 0o604, 0o644):
        named["key"].chmod(mode)
        with pytest.raises(SignerUnusable, match="0600"):
            open_signer(C2paSettings(**named))
    named["key"].unlink()
    with pytest.raises(FileUnusable):
        open_signer(C2paSettings(**named))


def test_a_key_from_the_environment(tmp_path: Path) -> None:
    own = chain("ed25519")
    settings = C2paSettings(certificates=files(tmp_path, own)["certificates"], key_pem=own.key.decode())
    assert load_signer(settings).algorithm == "ed25519"
    assert own.key.decode().split("\n")[1] not in repr(settings)


def test_certificates_are_replaced_while_serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facecloak_rpc.watched_files._LOOK_SECONDS", 0.0)
    own, next_one = chain(), chain("es384")
    named = files(tmp_path, own)
    signer = WatchedSigner(C2paSettings(**named))

    def algorithm() -> str:
        from tests.photos.test_credentials import PHOTO

        signed = signer.signed(PHOTO, parent=PHOTO)
        assert signed is not None
        (only,) = manifests(signed)["manifests"].values()
        return str(only["signature"]["alg"])

    assert algorithm() == "es256"
    # A chain whose key is not there yet: the old ones stay.
    named["certificates"].write_bytes(next_one.certificates)
    assert algorithm() == "es256"
    named["key"].write_bytes(next_one.key)
    assert algorithm() == "es384"


def test_the_service_signs_what_it_cloaks(
    make_service: Callable[..., Any], tmp_path: Path, astronaut_photo: bytes
) -> None:
    service = make_service(c2pa=C2paSettings(**files(tmp_path, chain())))
    request = apply_pb2.ApplyCloakRequest(photo=astronaut_photo, subjects=[apply_pb2.Subject(user_id="alice")])
    response = service.stub.ApplyCloak(request)
    assert response.c2pa_signed
    assert faults(manifests(response.photo)) == set()
    request.subjects[0].user_id = "nobody"
    response = service.stub.ApplyCloak(request)
    assert (response.c2pa_signed, response.photo) == (False, astronaut_photo)


def test_a_service_without_a_certificate_says_so(make_service: Callable[..., Any], astronaut_photo: bytes) -> None:
    request = apply_pb2.ApplyCloakRequest(photo=astronaut_photo, subjects=[apply_pb2.Subject(user_id="alice")])
    response = make_service().stub.ApplyCloak(request)
    assert response.encoding_path != apply_pb2.ENCODING_PATH_UNCHANGED
    assert not response.c2pa_signed
    assert manifest_state(response.photo) is None


def test_the_doctor_looks_at_the_signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = files(tmp_path, chain())
    for name, path in named.items():
        monkeypatch.setenv(f"FACECLOAK_APPLY_C2PA__{name.upper()}", str(path))

    def look() -> Any:
        (check,) = [check for check in checks() if check.name == "apply content credentials"]
        return check.run()

    assert (look().verdict, look().found[:15]) == (Verdict.OK, "signs by es256,")
    named["key"].chmod(0o644)
    assert look().verdict is Verdict.FAILED

"""Signers made for tests, photos that cameras signed, and what the C2PA library says of a file."""

from __future__ import annotations

import datetime
import io
import json
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CAPTURE = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"


@dataclass(frozen=True)
class Chain:
    """PEM of a signer's certificate with its root, and of its key."""

    certificates: bytes
    key: bytes


def key_of(kind: str = "es256") -> Any:
    """A private key for one of C2PA's algorithms."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("ps"):
        return rsa.generate_private_key(65537, 2048)
    curves: dict[str, ec.EllipticCurve] = {"es256": ec.SECP256R1(), "es384": ec.SECP384R1(), "es512": ec.SECP521R1()}
    return ec.generate_private_key(curves[kind])


def chain(kind: str = "es256", *, ended: bool = False, for_signing: bool = True) -> Chain:
    """``ended``: a certificate whose time is over; ``for_signing``: whether its purpose is one that C2PA allows."""
    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(days=-1 if ended else 30)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), key_of(kind)
    certificates = []
    for subject, public, is_root in (("signer", key.public_key(), False), ("root", root_key.public_key(), True)):
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name("root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
            )
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                    key_agreement=False, key_cert_sign=is_root, crl_sign=is_root, encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        )  # fmt: skip
        if not is_root:
            purpose = (
                ExtendedKeyUsageOID.EMAIL_PROTECTION if for_signing else ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
            )
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        certificates.append(builder.sign(root_key, hashes.SHA256()))
    pem = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)
    form = serialization.PrivateFormat.PKCS8
    return Chain(pem, key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def signed_by_camera(photo: bytes, *, mime: str = "image/jpeg", thumbnail: bytes | None = None) -> bytes:
    """A photo with a C2PA manifest as a camera makes one, with a thumbnail of the face in it where one is given (the
    library makes one of large photos itself)."""
    c2pa = pytest.importorskip("c2pa")
    own = chain()
    info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=own.certificates, private_key=own.key, ta_url=None)
    manifest: dict[str, Any] = {
        "claim_generator_info": [{"name": "camera", "version": "1"}],
        "title": "photo",
        "format": mime,
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [{"action": "c2pa.created",
            "digitalSourceType": CAPTURE}]}}],
    }  # fmt: skip
    if thumbnail is not None:
        manifest["thumbnail"] = {"format": "image/jpeg", "identifier": "thumbnail.jpg"}
    out = io.BytesIO()
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as made:
        if thumbnail is not None:
            made.add_resource("thumbnail.jpg", io.BytesIO(thumbnail))
        made.sign(signer, mime, io.BytesIO(photo), out)
    return out.getvalue()


def manifest_state(data: bytes, *, mime: str = "image/jpeg") -> str | None:
    """What the C2PA library says about a file's manifest; None where there is none."""
    c2pa = pytest.importorskip("c2pa")
    try:
        with c2pa.Reader(mime, io.BytesIO(data)) as reader:
            return str(reader.get_validation_state())
    except c2pa.C2paError.ManifestNotFound:
        return None


def manifests(data: bytes, *, mime: str = "image/jpeg") -> dict[str, Any]:
    """All that the C2PA library reads of a file's manifests, with what it finds wrong."""
    c2pa = pytest.importorskip("c2pa")
    with c2pa.Reader(mime, io.BytesIO(data)) as reader:
        return dict(json.loads(reader.detailed_json()))


def faults(found: dict[str, Any]) -> set[str]:
    """Codes of what is wrong, but for the root of tests that nobody trusts."""
    failures = found["validation_results"]["activeManifest"]["failure"]
    return {failure["code"] for failure in failures} - {"signingCredential.untrusted"}

"""TLS on a server's port: its certificate, and the authorities of its callers' certificates, replaced while serving."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from pydantic import BaseModel, ConfigDict, model_validator

from facecloak_rpc.watched_files import FileUnusable, WatchedFiles, read_bounded


class TlsSettings(BaseModel):
    """The server's certificate, and who may connect. The files are read again within a second or so of a change."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    certificate: Path | None = None
    """PEM file of the server's certificate and those between it and its authority. Empty: no TLS."""

    key: Path | None = None
    """PEM file of the certificate's private key, without a passphrase."""

    client_ca: Path | None = None
    """PEM file of the authorities of callers' certificates (mutual TLS): nobody can connect without one of theirs, gRPC
    probes included. Empty: callers need no certificate."""

    @model_validator(mode="after")
    def _whole(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("tls certificate and key belong together")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("tls client_ca needs a certificate of the server's own")
        return self

    @property
    def is_on(self) -> bool:
        """Whether the port speaks TLS."""
        return self.certificate is not None

    @property
    def is_mutual(self) -> bool:
        """Whether callers need a certificate."""
        return self.client_ca is not None


@dataclass(frozen=True)
class Certificates:
    """What the files hold, checked.

    Attributes:
        ends_at: when the server's own certificate ends.
    """

    chain_pem: bytes
    key_pem: bytes
    client_ca_pem: bytes | None
    ends_at: datetime

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """As gRPC takes it."""
        return grpc.ssl_server_certificate_configuration(
            [(self.key_pem, self.chain_pem)], root_certificates=self.client_ca_pem
        )


def load_certificates(settings: TlsSettings) -> Certificates:
    """Reads and checks the files. Raises FileUnusable: not PEM, a key of another certificate, or one that has ended."""
    assert settings.certificate is not None
    assert settings.key is not None
    chain_pem, key_pem = read_bounded(settings.certificate), read_bounded(settings.key)
    leaf = _certificates(chain_pem, path=settings.certificate)[0]
    if _spki(leaf.public_key()) != _public_key_of(key_pem, path=settings.key):
        raise FileUnusable(f"{settings.key} is not the key of {settings.certificate}")
    if leaf.not_valid_after_utc <= datetime.now(UTC):
        raise FileUnusable(f"{settings.certificate} ended at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    client_ca_pem = None
    if settings.client_ca is not None:
        client_ca_pem = read_bounded(settings.client_ca)
        _certificates(client_ca_pem, path=settings.client_ca)
    return Certificates(chain_pem, key_pem, client_ca_pem, leaf.not_valid_after_utc)


def server_credentials(settings: TlsSettings) -> grpc.ServerCredentials:
    """Credentials that follow the files: each new connection gets what they hold then. Raises FileUnusable."""
    paths = [path for path in (settings.certificate, settings.key, settings.client_ca) if path is not None]
    watched = WatchedFiles(paths, lambda: load_certificates(settings), what="certificates")
    handed_out = watched.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal handed_out
        now = watched.current()
        if now is handed_out:
            return None
        handed_out = now
        return now.configuration()

    return grpc.dynamic_ssl_server_credentials(
        # The stubs do not know that None keeps what there is.
        handed_out.configuration(),
        fetch,  # type: ignore[arg-type]
        require_client_authentication=settings.is_mutual,
    )


def watched_context(settings: TlsSettings, *, asks: ssl.VerifyMode = ssl.CERT_REQUIRED) -> WatchedFiles[ssl.SSLContext]:
    """The same for Python's own sockets; ``asks``: whether a client without a certificate is let in where the settings
    have authorities. Raises FileUnusable."""
    paths = [path for path in (settings.certificate, settings.key, settings.client_ca) if path is not None]
    return WatchedFiles(paths, lambda: _context(settings, asks), what="certificates")


def _context(settings: TlsSettings, asks: ssl.VerifyMode) -> ssl.SSLContext:
    load_certificates(settings)  # says what is wrong with them
    assert settings.certificate is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certificate, settings.key)
    if settings.client_ca is not None:
        context.verify_mode = asks
        context.load_verify_locations(settings.client_ca)
    return context


def _certificates(pem: bytes, *, path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise FileUnusable(f"{path} holds no certificate in PEM") from error


def _public_key_of(key_pem: bytes, *, path: Path) -> bytes:
    try:
        return _spki(load_pem_private_key(key_pem, password=None).public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: it has a passphrase
        raise FileUnusable(f"{path} holds no private key in PEM without a passphrase") from error


def _spki(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]

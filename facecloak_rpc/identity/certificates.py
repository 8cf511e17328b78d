"""What a caller's certificate says of who it is: the one URI among its names, as SPIFFE has it.

https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from facecloak_rpc.identity.errors import CredentialsInvalid


@dataclass(frozen=True)
class PeerCertificate:
    """A certificate that TLS has checked when the connection was made.

    Attributes:
        uri: its URI, "" where it has none.
        fingerprint: SHA-256, hex.
        ends_at: after this it proves nothing, on connections that are open still as well.
    """

    uri: str
    fingerprint: str
    ends_at: datetime


def certificate_of(auth_context: Mapping[str, Sequence[bytes]]) -> PeerCertificate | None:
    """The peer's certificate by ``grpc.ServicerContext.auth_context()``; None where it showed none.

    Raises CredentialsInvalid: it has ended since, or has several URIs.
    """
    pems = auth_context.get("x509_pem_cert") or ()
    if not pems:
        return None
    certificate = _parsed(bytes(pems[0]))
    if certificate.ends_at <= datetime.now(UTC):
        raise CredentialsInvalid("the certificate has ended")
    return certificate


@lru_cache(maxsize=1024)
def _parsed(pem: bytes) -> PeerCertificate:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    except ValueError as error:
        raise CredentialsInvalid("the certificate cannot be read") from error
    if len(uris) > 1:
        raise CredentialsInvalid("the certificate has several URIs")
    fingerprint = certificate.fingerprint(SHA256()).hex()
    return PeerCertificate(uris[0] if uris else "", fingerprint, certificate.not_valid_after_utc)

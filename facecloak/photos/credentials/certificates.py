"""A signer's certificates and key: what they are, and whether they belong together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from facecloak.photos.credentials.errors import SignerUnusable

_OF_CURVE = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")
"""C2PA Technical Specification 2.4, 13.2."""


@dataclass(frozen=True, repr=False)
class Checked:
    """A chain, and what its first certificate says.

    Attributes:
        algorithm: one of ALGORITHMS.
        begins_at, ends_at: between when photos may be signed with it.
    """

    algorithm: str
    begins_at: datetime
    ends_at: datetime

    def check_now(self) -> None:
        """Raises SignerUnusable outside of the certificate's time."""
        if not self.begins_at <= datetime.now(UTC) <= self.ends_at:
            raise SignerUnusable("The signer's certificate is not valid now.", ends_at=self.ends_at.isoformat())


def checked(chain_pem: bytes, key_pem: bytes, *, algorithm: str = "") -> Checked:
    """Looks at a chain, the signer's own certificate first, and its key; ``algorithm`` is by default the key's.

    Raises:
        SignerUnusable: not PEM, a key of another certificate, a kind of key that C2PA does not allow, or not valid now.
    """
    try:
        leaf = x509.load_pem_x509_certificates(chain_pem)[0]
        key = load_pem_private_key(key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # Neither text says more than this, and both may quote what the files hold.
        raise SignerUnusable("The signer's certificates or its key are no PEM files without a passphrase.") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise SignerUnusable("The signer's key is not that of the first certificate.")
    allowed = _allowed(key)
    if not allowed or (algorithm and algorithm not in allowed):
        raise SignerUnusable("C2PA does not sign with such a key by this algorithm.", algorithm=algorithm or "any")
    found = Checked(algorithm or allowed[0], leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    found.check_now()
    return found


def _allowed(key: object) -> tuple[str, ...]:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        name = _OF_CURVE.get(key.curve.name)
        return (name,) if name else ()
    if isinstance(key, rsa.RSAPrivateKey):
        return ("ps256", "ps384", "ps512") if key.key_size >= 2048 else ()
    return ("ed25519",) if isinstance(key, ed25519.Ed25519PrivateKey) else ()

"""An issuer of tokens for tests: real keys, and the JWKS document that names them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER, AUDIENCE = "https://issuer.example", "facecloak"
_MAKERS: dict[str, Any] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_FORMS: dict[str, Any] = {
    "RS256": jwt.algorithms.RSAAlgorithm,
    "ES256": jwt.algorithms.ECAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}


class Issuer:
    """Signs tokens by the key that it names ``key_id``; :meth:`rotate` makes another."""

    def __init__(self, algorithm: str = "ES256", key_id: str = "first") -> None:
        self.algorithm = algorithm
        self.key_id = key_id
        self.key = _MAKERS[algorithm]()

    def rotate(self, key_id: str) -> None:
        self.key_id = key_id
        self.key = _MAKERS[self.algorithm]()

    def public_pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[no-any-return]

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """The public key as JWKS has it."""
        made = json.loads(_FORMS[self.algorithm].to_jwk(self.key.public_key()))
        return made | {"kid": self.key_id, "alg": self.algorithm, "use": "sig"} | changes

    def write_jwks(self, path: Path) -> Path:
        path.write_text(json.dumps({"keys": [self.jwk()]}))
        return path

    def token(self, subject: str = "accounts", *, headers: dict[str, Any] | None = None, **changes: Any) -> str:
        """A good token, but for ``changes`` of its claims; None leaves one out."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300} | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, self.key, self.algorithm, headers={"kid": self.key_id} | (headers or {}))


def bearer(token: str) -> list[tuple[str, str]]:
    """The metadata of a call with this token."""
    return [("authorization", f"Bearer {token}")]

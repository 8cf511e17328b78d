"""Bearer tokens (JWT, RFC 7519): checked by a key of the issuer's, as RFC 8725 advises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jwt

from facecloak_rpc.identity.errors import CredentialsInvalid
from facecloak_rpc.identity.jwks import KeySource

TOKEN_BYTES_LIMIT = 16 * 1024
"""Longest token that is looked at."""


class TokenVerifier:
    """Checks tokens of one issuer for one audience."""

    def __init__(
        self, keys: KeySource, *, algorithms: Sequence[str], issuer: str | None, audience: str, leeway_seconds: float
    ) -> None:
        """``issuer`` None: whoever has a key may have issued them."""
        self._keys = keys
        self._algorithms = frozenset(algorithms)
        self._issuer = issuer
        self._required = ["exp", "aud", *([] if issuer is None else ["iss"])]
        self._audience = audience
        self._leeway_seconds = leeway_seconds

    def claims(self, token: str) -> dict[str, Any]:
        """The claims of a token that is good.

        Raises:
            CredentialsInvalid: it is not; ``why`` names the check.
            TokenKeysUnavailable: it cannot be told.
        """
        if len(token) > TOKEN_BYTES_LIMIT:
            raise CredentialsInvalid("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            algorithm, key_id = header.get("alg"), header.get("kid", "")
            if algorithm not in self._algorithms or not isinstance(key_id, str):
                raise CredentialsInvalid("the token's algorithm is none of those allowed")
            key = self._keys.key(key_id, algorithm)
            if key is None:
                raise CredentialsInvalid("the token's key is none of the issuer's")
            return jwt.decode(
                token, key, algorithms=[algorithm], audience=self._audience, issuer=self._issuer,
                leeway=self._leeway_seconds, options={"require": self._required},
            )  # fmt: skip
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise CredentialsInvalid(type(error).__name__) from error

"""Upload tickets: the platform's own word that this caller may have this photo cloaked for this user.

A ticket is a JWT that the platform's upload endpoint signs when a user uploads a photo. Its claims: ``aud``, ``exp``,
``sub`` the user's id, ``photo_sha256`` the digest of the photo as it is sent, in hex, and ``tenant`` where the user is
not of the default one. It comes in the call's metadata, once for each user whom the call, or its stream, names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from facecloak.errors import ErrorCode, FaceCloakError, InvalidInput
from facecloak.limits import MAX_SUBJECTS
from facecloak.users import DEFAULT_TENANT, User
from facecloak_rpc.identity.errors import CredentialsInvalid
from facecloak_rpc.identity.jwks import KeysFromFile
from facecloak_rpc.identity.tokens import TOKEN_BYTES_LIMIT, TokenVerifier

TICKET_HEADER = "x-facecloak-ticket"
_KEY_BYTES = 32
_KEY_PAIR_ALGORITHMS = ("RS256", "ES256", "EdDSA")
_LEEWAY_SECONDS = 30.0


class TicketMissing(FaceCloakError):
    """The service asks for an upload ticket, and none came for this user and this photo."""

    code = ErrorCode.PERMISSION_DENIED
    reason = "TICKET_MISSING"


class TicketInvalid(FaceCloakError):
    """An upload ticket is malformed, ended, too long-lived, or signed by nobody who may."""

    code = ErrorCode.PERMISSION_DENIED
    reason = "TICKET_INVALID"


class TicketSettings(BaseModel):
    """Upload tickets (JWT), which bind an ApplyCloak call to one user and one photo."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    required: bool = False
    """Refuse calls that name a user for whom no ticket came. False: tickets that come are checked, others pass."""

    key: SecretStr | None = None
    """Secret that tickets are signed with (HS256), 32 bytes or more in base64, shared with the upload endpoint. Empty
    with jwks empty too: tickets are not looked at."""

    jwks: Path | None = None
    """File of public keys (JWKS) instead: the service then cannot make tickets itself. Looked at each second."""

    audience: str = "facecloak-upload"
    """What a ticket's claim aud must be; no other token of the platform's may have it."""

    seconds_limit: float = Field(default=900.0, gt=0, le=86_400)
    """Longest time from now to a ticket's end, seconds: an upload's own time, and no key for ever."""

    @model_validator(mode="after")
    def _whole(self) -> TicketSettings:
        if self.key is not None and self.jwks is not None:
            raise ValueError("ticket key or jwks, not both")
        if self.required and not self.is_on:
            raise ValueError("tickets that are required need key or jwks to be checked by")
        if self.key is not None:
            try:
                secret = base64.b64decode(self.key.get_secret_value(), validate=True)
            except (binascii.Error, ValueError) as error:
                raise ValueError("ticket key is not base64") from error
            if len(secret) < _KEY_BYTES:
                raise ValueError(f"ticket key needs {_KEY_BYTES} bytes or more")
        return self

    @property
    def is_on(self) -> bool:
        """Whether tickets are looked at."""
        return self.key is not None or self.jwks is not None


@dataclass(frozen=True)
class _Ticket:
    user: User
    photo_sha256: str
    ends_at: float


class Tickets:
    """The tickets of one call, checked."""

    def __init__(self, tickets: tuple[_Ticket, ...], *, required: bool) -> None:
        self._tickets = tickets
        self._required = required

    def check(self, users: Iterable[User], photo: bytes) -> None:
        """Raises TicketMissing unless each user has a ticket for this photo."""
        if not self._required and not self._tickets:
            return
        digest = hashlib.sha256(photo).hexdigest()
        now = time.time()
        good = {
            ticket.user
            for ticket in self._tickets
            if hmac.compare_digest(ticket.photo_sha256, digest) and ticket.ends_at + _LEEWAY_SECONDS > now
        }
        if not good.issuperset(users):
            raise TicketMissing("each user needs an upload ticket for this very photo")


class UploadTickets:
    """Reads tickets. Thread safe."""

    def __init__(self, settings: TicketSettings) -> None:
        """Raises FileUnusable for a JWKS file that cannot be used."""
        self._settings = settings
        self._secret = base64.b64decode(settings.key.get_secret_value()) if settings.key is not None else b""
        self._by_key_pair: TokenVerifier | None = None
        if settings.jwks is not None:
            self._by_key_pair = TokenVerifier(
                KeysFromFile(settings.jwks), algorithms=_KEY_PAIR_ALGORITHMS, issuer=None, audience=settings.audience,
                leeway_seconds=_LEEWAY_SECONDS,
            )  # fmt: skip

    def of(self, metadata: Iterable[tuple[str, str | bytes]]) -> Tickets:
        """The tickets in a call's metadata. Raises TicketInvalid where one of them is none, or there are too many."""
        if not self._settings.is_on:
            return Tickets((), required=False)
        texts = [str(value) for key, value in metadata if key == TICKET_HEADER]
        if len(texts) > MAX_SUBJECTS:
            raise TicketInvalid(f"a call takes {MAX_SUBJECTS} tickets at most", limit=MAX_SUBJECTS)
        return Tickets(tuple(self._ticket(text) for text in texts), required=self._settings.required)

    def _ticket(self, text: str) -> _Ticket:
        try:
            claims = self._claims(text)
            ends_at = float(claims["exp"])
            if ends_at > time.time() + self._settings.seconds_limit + _LEEWAY_SECONDS:
                raise TicketInvalid("the upload ticket is valid for too long")
            digest = claims["photo_sha256"]
            if not isinstance(digest, str) or len(digest) != 64 or not digest.isascii():
                raise TicketInvalid("the upload ticket names no photo")
            user = User(claims.get("tenant", DEFAULT_TENANT), claims["sub"])
            return _Ticket(user, digest.lower(), ends_at)
        except (
            CredentialsInvalid, InvalidInput, jwt.PyJWTError, KeyError, ValueError, TypeError, OverflowError,
            RecursionError,
        ) as error:  # fmt: skip
            raise TicketInvalid("the upload ticket is not valid") from error

    def _claims(self, text: str) -> dict[str, Any]:
        if len(text) > TOKEN_BYTES_LIMIT:
            raise TicketInvalid("the upload ticket is not valid")
        if self._by_key_pair is not None:
            return self._by_key_pair.claims(text)
        return jwt.decode(
            text, self._secret, algorithms=["HS256"], audience=self._settings.audience, leeway=_LEEWAY_SECONDS,
            options={"require": ["exp", "aud", "sub"]},
        )  # fmt: skip

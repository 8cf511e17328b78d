"""Who makes a call, by what it brings: a token in its metadata, or the certificate of its connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import grpc
import structlog

from facecloak_rpc.identity.caller import ANYBODY, Caller
from facecloak_rpc.identity.callers_file import Callers
from facecloak_rpc.identity.certificates import PeerCertificate, certificate_of
from facecloak_rpc.identity.errors import CredentialsInvalid, CredentialsMissing
from facecloak_rpc.identity.jwks import key_source
from facecloak_rpc.identity.settings import IdentitySettings
from facecloak_rpc.identity.tokens import TokenVerifier
from facecloak_rpc.watched_files import WatchedFiles

_HEADER = "authorization"
_SCHEME = "bearer"
_log = structlog.get_logger("facecloak.identity")


class Authenticator:
    """Names callers. Thread safe."""

    def __init__(self, settings: IdentitySettings, *, is_mutual: bool = False) -> None:
        """``is_mutual``: callers have shown a certificate. Raises FileUnusable: the callers' file, or the keys'."""
        self._is_mutual = is_mutual
        self._callers: WatchedFiles[Callers] | None = None
        self._tokens: TokenVerifier | None = None
        if settings.callers is not None:
            path = settings.callers
            self._callers = WatchedFiles([path], lambda: Callers.load(path), what="callers")
        if settings.jwks:
            self._tokens = TokenVerifier(
                key_source(settings),
                algorithms=settings.algorithms,
                issuer=settings.issuer,
                audience=settings.audience,
                leeway_seconds=settings.leeway_seconds,
            )

    @property
    def is_on(self) -> bool:
        """Whether callers have to prove who they are."""
        return self._callers is not None or self._is_mutual

    @property
    def callers(self) -> Callers | None:
        """Those that the operator names, now."""
        return None if self._callers is None else self._callers.current()

    def caller(
        self, metadata: Iterable[tuple[str, str | bytes]], auth_context: Mapping[str, Sequence[bytes]]
    ) -> Caller:
        """Who makes a call of this metadata on a connection of this context.

        Raises:
            CredentialsMissing, CredentialsInvalid: nothing proves it.
            CallerUnknown: it is proven, and means nothing here.
            TokenKeysUnavailable: it cannot be told now.
        """
        if not self.is_on:
            return ANYBODY
        try:
            headers = [value for key, value in metadata if key == _HEADER]
            certificate = certificate_of(auth_context)
            if self._tokens is not None and headers:
                return self._by_token(headers, self._tokens)
            return self._by_certificate(certificate)
        except CredentialsInvalid as error:
            _log.info("credentials invalid", why=error.why)
            raise

    def _by_token(self, headers: list[str | bytes], tokens: TokenVerifier) -> Caller:
        scheme, _, token = str(headers[0]).partition(" ")
        if len(headers) > 1 or scheme.lower() != _SCHEME or not token.strip():
            raise CredentialsInvalid("the authorization is not one bearer token")
        assert self._callers is not None
        return self._callers.current().by_claims(tokens.claims(token.strip()))

    def _by_certificate(self, certificate: PeerCertificate | None) -> Caller:
        if certificate is None:
            raise CredentialsMissing("this service asks who calls: send a token, or connect with a certificate")
        if self._callers is None:
            # Who has a certificate of the authority may everything; limits still go by who it is.
            return Caller(certificate.uri or certificate.fingerprint)
        return self._callers.current().by_uri(certificate.uri)


def auth_context_of(context: grpc.ServicerContext) -> Mapping[str, Sequence[bytes]]:
    """What TLS knows of the connection: values by name, such as ``x509_pem_cert``."""
    return cast(Mapping[str, Sequence[bytes]], context.auth_context())  # the stubs say one value a name

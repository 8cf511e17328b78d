"""What every provider of wrapping keys promises, and several of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from facecloak.stores.errors import KeyUnusable, WrongKey
from facecloak.stores.sealing import Sealer

MAX_WRAPPED_BYTES = 2048
"""Longest wrapped data key: a key server's own form of 32 bytes has a few hundred."""
MAX_KEY_ID_CHARACTERS = 512


@dataclass(frozen=True)
class WrappedKey:
    """A data key that only the key ``key_id`` makes usable again."""

    key_id: str
    data: bytes = field(repr=False)


class KeyProvider(Protocol):
    """Wrapping keys: several may be read with, one is written with. Safe to share between threads.

    Every method may raise :class:`KeyUnusable` (a key that is malformed, or may not be used) and
    :class:`KeyServerUnavailable` (a key server that does not answer).
    """

    def writing_key_id(self) -> str:
        """Of the key that wraps from now on."""
        ...

    def key_ids(self) -> tuple[str, ...]:
        """Of the keys that can be read with, as far as they are known here; the writing one first."""
        ...

    def holds(self, key_id: str) -> bool:
        """Whether :meth:`unwrap` may be asked about what this key has wrapped."""
        ...

    def wrap(self, secret: bytes, *, context: bytes) -> WrappedKey:
        """Wrap 32 bytes; ``context`` must be given again to unwrap them."""
        ...

    def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> bytes:
        """The inverse.

        Raises:
            SealBroken: changed, or wrapped for another context.
            WrongKey: the key is not there (any more).
        """
        ...

    def sealer(self, key_id: str) -> Sealer | None:
        """What opens objects of releases that sealed with one key; None where that key is not here."""
        ...

    def refresh(self) -> None:
        """Notice keys that came or went since."""
        ...


class Keyring:
    """A :class:`KeyProvider` of several: the first one writes, all read. A key that none holds is looked for once more
    after a refresh, so that a key that was added while the service runs is found without a restart."""

    def __init__(self, providers: Sequence[KeyProvider]) -> None:
        if not providers:
            raise KeyUnusable("There is no key.")
        self._providers = tuple(providers)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.key_ids())})"

    def writing_key_id(self) -> str:
        """See :class:`KeyProvider`."""
        return self._providers[0].writing_key_id()

    def key_ids(self) -> tuple[str, ...]:
        """See :class:`KeyProvider`."""
        return tuple(dict.fromkeys(key_id for provider in self._providers for key_id in provider.key_ids()))

    def holds(self, key_id: str) -> bool:
        """See :class:`KeyProvider`."""
        return any(provider.holds(key_id) for provider in self._providers)

    def wrap(self, secret: bytes, *, context: bytes) -> WrappedKey:
        """See :class:`KeyProvider`."""
        return self._providers[0].wrap(secret, context=context)

    def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> bytes:
        """See :class:`KeyProvider`."""
        return self._holder(wrapped.key_id).unwrap(wrapped, context=context)

    def sealer(self, key_id: str) -> Sealer:
        """As :meth:`KeyProvider.sealer`; raises :class:`WrongKey` where there is none."""
        sealer = self._holder(key_id).sealer(key_id)
        if sealer is None:
            raise self._wrong(key_id)
        return sealer

    def refresh(self) -> None:
        """See :class:`KeyProvider`."""
        for provider in self._providers:
            provider.refresh()

    def _holder(self, key_id: str) -> KeyProvider:
        for attempt in range(2):
            for provider in self._providers:
                if provider.holds(key_id):
                    return provider
            if attempt == 0:
                self.refresh()
        raise self._wrong(key_id)

    def _wrong(self, key_id: str) -> WrongKey:
        return WrongKey(
            "The stored mask was sealed with another key.", needs_key=key_id, has_key=", ".join(self.key_ids())
        )

"""Wrapping keys that this machine has: in a file, or in the environment."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from facecloak.stores import keys
from facecloak.stores.errors import KeyUnusable, WrongKey
from facecloak.stores.key_providers.base import WrappedKey
from facecloak.stores.sealing import Sealer


class LocalKeys:
    """A :class:`facecloak.stores.key_providers.KeyProvider` of keys in memory; the first one writes."""

    def __init__(self, sealers: Sequence[Sealer]) -> None:
        if not sealers:
            raise KeyUnusable("There is no key.")
        self._sealers = {sealer.key_id: sealer for sealer in sealers}

    def writing_key_id(self) -> str:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        return next(iter(self._sealers))

    def key_ids(self) -> tuple[str, ...]:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        return tuple(self._sealers)

    def holds(self, key_id: str) -> bool:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        return key_id in self._sealers

    def wrap(self, secret: bytes, *, context: bytes) -> WrappedKey:
        """AES-256-GCM under the writing key. See :class:`facecloak.stores.key_providers.KeyProvider`."""
        sealer = next(iter(self._sealers.values()))
        return WrappedKey(sealer.key_id, sealer.wrap(secret, context=context))

    def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> bytes:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        sealer = self._sealers.get(wrapped.key_id)
        if sealer is None:
            raise WrongKey("The key went away.", needs_key=wrapped.key_id, has_key=", ".join(self.key_ids()))
        return sealer.unwrap(wrapped.data, context=context)

    def sealer(self, key_id: str) -> Sealer | None:
        """See :class:`facecloak.stores.key_providers.KeyProvider`."""
        return self._sealers.get(key_id)

    def refresh(self) -> None:
        """Nothing comes or goes."""


class EnvironmentKeys(LocalKeys):
    """Keys as settings give them, in base64; the first one writes."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__([Sealer.from_base64(text) for text in texts])


class FileKeys(LocalKeys):
    """The keys of a key file, one a line in base64; the first line's writes. Read again when the file changes, so that
    a running service takes up a key that was put there."""

    def __init__(self, path: Path, *, make: bool = False) -> None:
        self._path = path
        self._lock = threading.Lock()
        super().__init__([Sealer(secret) for secret in keys.keys_from_file(path, make=make)])

    def refresh(self) -> None:
        """Reads the file again; raises :class:`KeyUnusable` where it cannot be."""
        with self._lock:
            self._sealers = {
                sealer.key_id: sealer for sealer in map(Sealer, keys.keys_from_file(self._path, make=False))
            }

"""Keys that wrap the data keys of stored objects: of this machine, or held by a key server."""

from facecloak.stores.key_providers.base import KeyProvider, Keyring, WrappedKey
from facecloak.stores.key_providers.local import EnvironmentKeys, FileKeys, LocalKeys

__all__ = ["EnvironmentKeys", "FileKeys", "KeyProvider", "Keyring", "LocalKeys", "WrappedKey"]

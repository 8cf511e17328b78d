"""Wrapping keys that a server holds, by HTTP: HashiCorp Vault's transit engine, AWS KMS, and what speaks as they do."""

from facecloak.stores.key_servers.http import KeyServer
from facecloak.stores.key_servers.kms import KmsKeys
from facecloak.stores.key_servers.transit import TransitKeys

__all__ = ["KeyServer", "KmsKeys", "TransitKeys"]

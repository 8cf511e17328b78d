"""Masks at rest: sealed, under names that do not tell the user, in a local folder or an S3 bucket."""

from facecloak.limits import InvalidUserId
from facecloak.stores.base import MaskStore
from facecloak.stores.circuit import CircuitStore
from facecloak.stores.errors import (
    ConsentExpired,
    InvalidStoreUrl,
    KeyCheckBroken,
    KeyServerUnavailable,
    KeyUnusable,
    MaskNotFound,
    SealBroken,
    StoreUnavailable,
    UserDeleted,
    WrongKey,
)
from facecloak.stores.key_providers import EnvironmentKeys, FileKeys, Keyring, LocalKeys
from facecloak.stores.local import LocalMaskStore, holds_no_store
from facecloak.stores.mask_page import ListedMask, MaskPage
from facecloak.stores.receipts import DeletionReceipt, ReceiptInvalid
from facecloak.stores.s3 import S3Connection, S3MaskStore
from facecloak.stores.sealing import Sealer
from facecloak.stores.urls import open_store

__all__ = [
    "CircuitStore",
    "ConsentExpired",
    "DeletionReceipt",
    "EnvironmentKeys",
    "FileKeys",
    "InvalidStoreUrl",
    "InvalidUserId",
    "KeyCheckBroken",
    "KeyServerUnavailable",
    "KeyUnusable",
    "Keyring",
    "ListedMask",
    "LocalKeys",
    "LocalMaskStore",
    "MaskNotFound",
    "MaskPage",
    "MaskStore",
    "ReceiptInvalid",
    "S3Connection",
    "S3MaskStore",
    "SealBroken",
    "Sealer",
    "StoreUnavailable",
    "UserDeleted",
    "WrongKey",
    "holds_no_store",
    "open_store",
]

"""Masks at rest."""

from facecloak.stores.errors import MaskNotFound, StoreUnavailable

__all__ = ["MaskNotFound", "StoreUnavailable"]

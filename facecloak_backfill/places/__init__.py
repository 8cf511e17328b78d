"""Where photos of an archive lie: a folder, or object storage."""

from facecloak_backfill.places.open_place import open_place
from facecloak_backfill.places.place import STATE_FOLDER, Place, StoredFile, check_name

__all__ = ["STATE_FOLDER", "Place", "StoredFile", "check_name", "open_place"]

"""Masks in a local folder: one sealed file a user, replaced atomically."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from facecloak.atomic_files import TEMPORARY_PREFIX, sync_folder, write_atomically
from facecloak.masks.bank import StoredMask
from facecloak.stores.base import MAX_OBJECT_BYTES, open_mask, seal_mask
from facecloak.stores.errors import MaskNotFound, StoreUnavailable
from facecloak.stores.sealing import Sealer

_SUFFIX = ".mask"
# A crashed writer's temporary file; a living writer holds one for milliseconds.
_LEFTOVER_AFTER_S = 3600.0


class LocalMaskStore:
    """A :class:`facecloak.stores.MaskStore` in ``root``: files ``NN/NAME.mask`` of mode 0600 in folders of mode
    0700."""

    def __init__(self, root: Path, sealer: Sealer) -> None:
        """Open the folder, made where there is none; raises :class:`StoreUnavailable`."""
        self._root = root
        self._sealer = sealer
        with _failures():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_leftovers(root)

    def put(self, user_id: str, mask: StoredMask) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        name, path = self._place(user_id)
        sealed = seal_mask(self._sealer, mask, name=name)
        with _failures():
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, exist_ok=True)
                sync_folder(self._root)
            write_atomically(path, sealed)

    def get(self, user_id: str) -> StoredMask:
        """See :class:`facecloak.stores.MaskStore`."""
        name, path = self._place(user_id)
        with _failures():
            try:
                with path.open("rb") as file:
                    sealed = file.read(MAX_OBJECT_BYTES + 1)
            except FileNotFoundError as error:
                raise MaskNotFound("The user has no mask.") from error
        return open_mask(self._sealer, sealed, name=name)

    def delete(self, user_id: str) -> bool:
        """See :class:`facecloak.stores.MaskStore`."""
        _, path = self._place(user_id)
        with _failures():
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            sync_folder(path.parent)
        return True

    def version(self, user_id: str) -> str | None:
        """See :class:`facecloak.stores.MaskStore`."""
        _, path = self._place(user_id)
        with _failures():
            try:
                status = path.stat()
            except FileNotFoundError:
                return None
        # Inode and time together: a filesystem reuses inodes at once, and its clock may tick only every few
        # milliseconds.
        return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"

    def user_key(self, user_id: str) -> bytes:
        """See :class:`facecloak.stores.MaskStore`."""
        return self._sealer.user_key(user_id)

    def probe(self) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        path = self._root / f".probe-{secrets.token_hex(8)}"
        with _failures():
            write_atomically(path, b"probe")
            try:
                if path.read_bytes() != b"probe":
                    raise StoreUnavailable("The mask store does not keep what is written.")
            finally:
                path.unlink(missing_ok=True)

    def probe_reading(self) -> None:
        """See :class:`facecloak.stores.MaskStore`."""
        with _failures():
            next(self._root.iterdir(), None)

    def _place(self, user_id: str) -> tuple[str, Path]:
        name = self._sealer.object_name(user_id)
        return name, self._root / name[:2] / f"{name}{_SUFFIX}"


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable("The mask store cannot be used.") from error


def _remove_leftovers(root: Path) -> None:
    oldest = time.time() - _LEFTOVER_AFTER_S
    for pattern in (f"{TEMPORARY_PREFIX}*", f"??/{TEMPORARY_PREFIX}*"):
        for path in root.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

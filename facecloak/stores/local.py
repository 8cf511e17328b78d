"""Masks in a local folder: one sealed file a user, replaced atomically."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from facecloak.atomic_files import TEMPORARY_PREFIX, sync_folder, write_atomically, write_new
from facecloak.stores.base import MAX_OBJECT_BYTES
from facecloak.stores.errors import StoreUnavailable
from facecloak.stores.faults import advice_for
from facecloak.stores.key_check import KEY_CHECK
from facecloak.stores.key_providers import Keyring
from facecloak.stores.names import TOMBSTONE_SUFFIX
from facecloak.stores.sealed import SealedMaskStore
from facecloak.stores.sealing import Sealer

_SUFFIX = ".mask"
_MASK_NAME = re.compile(r"[0-9a-f]{64}")
_TOMBSTONE_NAME = re.compile(r"[0-9a-f]{64}" + re.escape(TOMBSTONE_SUFFIX))
# A crashed writer's temporary file; a living writer holds one for milliseconds.
_LEFTOVER_AFTER_S = 3600.0


class LocalFolder:
    """A :class:`facecloak.stores.base.ObjectPlace` in ``root``: masks are files ``NN/NAME.mask``, all of mode 0600 in
    folders of mode 0700."""

    absence_seconds = 0.0
    """A volume that is not mounted (any more) looks like a folder without masks: only a key check tells them apart."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str) -> bytes | None:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        with _failures():
            try:
                with self._path(name).open("rb") as file:
                    return file.read(MAX_OBJECT_BYTES + 1)
            except FileNotFoundError:
                return None

    def version(self, name: str) -> str | None:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        with _failures():
            try:
                status = self._path(name).stat()
            except FileNotFoundError:
                return None
        return _version_of(status)

    def write(self, name: str, data: bytes) -> None:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        with _failures(), self._locked():
            write_atomically(self._made(name), data)

    def replace(self, name: str, data: bytes, version: str) -> bool:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        with _failures(), self._locked():
            if self.version(name) != version:
                return False
            write_atomically(self._made(name), data)
            return True

    def read_version(self, name: str) -> tuple[bytes, str] | None:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        with _failures():
            try:
                with self._path(name).open("rb") as file:
                    version = _version_of(os.fstat(file.fileno()))
                    return file.read(MAX_OBJECT_BYTES + 1), version
            except FileNotFoundError:
                return None

    def write_new(self, name: str, data: bytes) -> bool:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        with _failures(), self._locked():
            return write_new(self._made(name), data)

    def remove(self, name: str) -> None:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        path = self._path(name)
        with _failures(), self._locked():
            try:
                path.unlink()
            except FileNotFoundError:
                return
            sync_folder(path.parent)

    def mask_names(self, limit: int) -> list[str]:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        names = []
        with _failures():
            if not self._root.is_dir():
                raise StoreUnavailable(
                    "The mask store's folder is not there.", fault="FolderMissing", advice=advice_for("FolderMissing")
                )
            for path in self._root.glob(f"??/*{_SUFFIX}"):
                if _MASK_NAME.fullmatch(path.stem):
                    names.append(path.stem)
                if len(names) == limit:
                    break
        return names

    def remove_old_versions(self, name: str) -> None:
        """A folder keeps none."""

    def names(self, *, after: str = "") -> Iterator[str]:
        """See :class:`facecloak.stores.base.ObjectPlace`. In the order of the files' names, folder by folder."""
        last = self._path(after).name if after else ""
        with _failures():
            for folder in sorted(self._root.glob("??")):
                if folder.name < last[:2] or not folder.is_dir():
                    continue
                for path in sorted(folder.iterdir()):
                    name = path.name.removesuffix(_SUFFIX)
                    if path.name > last and (_MASK_NAME.fullmatch(name) or _TOMBSTONE_NAME.fullmatch(name)):
                        yield name

    def prove_conditions(self) -> None:
        """The folder's lock sees to them, where the file system has one. See
        :class:`facecloak.stores.base.ObjectPlace`."""
        with _failures():
            descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError as error:
                raise StoreUnavailable(
                    "The mask store cannot be locked.", fault="NoConditions", advice=advice_for("NoConditions")
                ) from error
            finally:
                os.close(descriptor)

    def begin(self) -> None:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        with _failures():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_leftovers(self._root)

    def prove_writing(self) -> None:
        """See :class:`facecloak.stores.base.ObjectPlace`."""
        path = self._root / f".write-test-{secrets.token_hex(8)}"
        with _failures():
            try:
                write_atomically(path, b"test")
                if path.read_bytes() != b"test":
                    raise StoreUnavailable("The mask store does not keep what is written.", fault="NotKept")
            finally:
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if _MASK_NAME.fullmatch(name):
            return self._root / name[:2] / f"{name}{_SUFFIX}"
        return self._root / name[:2] / name if _TOMBSTONE_NAME.fullmatch(name) else self._root / name

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among the writers of all processes that use this folder."""
        if not self._root.is_dir():
            yield  # fails by itself, and makes no folder where a volume should be
            return
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # a file system that cannot: :meth:`prove_conditions` tells
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _made(self, name: str) -> Path:
        path = self._path(name)
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._root)
        return path


class LocalMaskStore(SealedMaskStore):
    """The :class:`facecloak.stores.MaskStore` of a :class:`LocalFolder`."""

    def __init__(
        self, root: Path, sealer: Keyring | Sealer, *, begins: bool = True, check_key: Callable[[], None] = lambda: None
    ) -> None:
        """See :class:`facecloak.stores.sealed.SealedMaskStore`."""
        super().__init__(LocalFolder(root), sealer, begins=begins, check_key=check_key)


def holds_no_store(root: Path) -> bool:
    """Whether a folder is missing, or holds neither masks nor a key check: no key belongs to it yet.

    Raises:
        StoreUnavailable: it cannot be looked into.
    """
    with _failures():
        if not root.exists():
            return True
    folder = LocalFolder(root)
    return folder.read(KEY_CHECK) is None and not folder.mask_names(1)


def _version_of(status: os.stat_result) -> str:
    # Inode and time together: a filesystem reuses inodes at once, and its clock may tick only every few milliseconds.
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fault = errno.errorcode.get(error.errno or 0, "OSError")
        raise StoreUnavailable("The mask store cannot be used.", fault=fault, advice=advice_for(fault)) from error


def _remove_leftovers(root: Path) -> None:
    oldest = time.time() - _LEFTOVER_AFTER_S
    for pattern in (f"{TEMPORARY_PREFIX}*", f"??/{TEMPORARY_PREFIX}*"):
        for path in root.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

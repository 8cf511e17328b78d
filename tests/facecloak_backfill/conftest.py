"""An archive with two users who have masks, and the command as it is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from facecloak.cloaking.cloaker import Cloaker, Subject
from facecloak.masks.mask import Mask
from facecloak.photos import decode_photo
from facecloak.users import User
from facecloak_rpc.storage import StoreSettings, open_configured_store
from tests.stores.conftest import S3Server
from tests.stores.conftest import s3 as s3

ROOT = Path(__file__).resolve().parents[2]
USERS = ("alice", "bob")


@dataclass(frozen=True)
class Archive:
    """Photos in ``source``, a folder a user; masks beneath ``data``."""

    source: Path
    destination: Path
    data: Path
    masks: dict[str, Mask]
    model_repository: Path

    def add(self, count: int, *, photo: bytes, first: int = 0) -> None:
        """More photos, no two alike; every other is bob's."""
        pixels = simplejpeg.decode_jpeg(photo)
        for index in range(first, first + count):
            folder = self.source / USERS[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            levels = np.clip(pixels.astype(np.int16) + index % 40 - 20, 0, 255).astype(np.uint8)
            (folder / f"{index:04d}.jpg").write_bytes(simplejpeg.encode_jpeg(levels, quality=90, colorspace="RGB"))

    def environment(self) -> dict[str, str]:
        return {
            **os.environ, "PYTHONPATH": str(ROOT), "FACECLOAK_MODEL_REPOSITORY": str(self.model_repository),
            "COLUMNS": "100", "FACECLOAK_APPLY_STORE__DATA": str(self.data),
        }  # fmt: skip

    def command(self, *arguments: object, source: str = "", destination: str = "") -> list[str]:
        places = [source or str(self.source), destination or str(self.destination)]
        return [sys.executable, "-m", "facecloak_backfill", *places, *(str(argument) for argument in arguments)]

    def run(self, *arguments: object, **places: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command("--workers", 2, *arguments, **places), env=self.environment(), capture_output=True, text=True,
            timeout=300,
        )  # fmt: skip

    def start(self, *arguments: object, **places: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*arguments, **places), env=self.environment(), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def names(self) -> list[str]:
        return sorted(path.relative_to(self.source).as_posix() for path in self.source.rglob("[!.]*.jpg"))

    def written(self) -> list[str]:
        found = (path.relative_to(self.destination) for path in self.destination.rglob("*") if path.is_file())
        # A writer that was killed leaves a hidden file, which nobody takes for a photo.
        return sorted(name.as_posix() for name in found if not any(part.startswith(".") for part in name.parts))

    def records(self, run: str = "backfill", *, kind: str = "part") -> list[dict[str, Any]]:
        parts = sorted((self.destination / ".facecloak" / run).glob(f"{kind}-*.jsonl"))
        return [json.loads(line) for part in parts for line in part.read_bytes().splitlines()]

    def assert_cloaked_once(self, read: Callable[[str], bytes] | None = None) -> None:
        """Every output has the pixels of its source with its user's mask put on once."""
        cloaker = Cloaker.load(self.masks, model_repository=self.model_repository)
        for name in self.names():
            once = cloaker.cloak((self.source / name).read_bytes(), [Subject(name.split("/")[0])])
            once.require_cloaked()
            data = read(name) if read else (self.destination / name).read_bytes()
            assert np.array_equal(decode_photo(data).srgb_u8, decode_photo(once.photo).srgb_u8), name


@pytest.fixture
def archive(tmp_path: Path, model_repository: Path) -> Archive:
    data = tmp_path / "data"
    store = open_configured_store(StoreSettings(data=data))
    masks = {}
    for seed, user_id in enumerate(USERS):
        pixels = np.random.default_rng(seed).integers(-12, 13, (112, 112, 3)).astype(np.int8)
        masks[user_id] = Mask.new(pixels, seed=seed)
        store.put(User("", user_id), masks[user_id])
    (tmp_path / "in").mkdir()
    return Archive(tmp_path / "in", tmp_path / "out", data, masks, model_repository)


@pytest.fixture
def s3_environment(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The environment names the tests' S3 server, as an operator's does."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3.connection.endpoint}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.connection.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.connection.secret_key)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return s3

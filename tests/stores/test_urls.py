from __future__ import annotations

from pathlib import Path

import pytest

from facecloak.stores import InvalidStoreUrl, LocalMaskStore, S3Connection, S3MaskStore, Sealer, open_store

S3 = S3Connection(endpoint="127.0.0.1:1", access_key="a", secret_key="b")


def test_a_folder(tmp_path: Path, sealer: Sealer) -> None:
    store = open_store(f"file://{tmp_path}/my%20masks", sealer)
    assert isinstance(store, LocalMaskStore)
    store.probe()
    assert (tmp_path / "my masks").is_dir()


@pytest.mark.parametrize("url", ["s3://masks", "s3://masks/a/b"])
def test_a_bucket_is_not_contacted_yet(url: str, sealer: Sealer) -> None:
    assert isinstance(open_store(url, sealer, s3=S3), S3MaskStore)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "masks",
        "/masks",
        "file:masks",
        "file://host/masks",
        "s3://",
        "s3:///x",
        "s3://a",
        "s3://k:s@masks",
        "s3://masks?x=1",
        "http://x/y",
        "redis://x",
    ],
)
def test_anything_else_is_refused(url: str, sealer: Sealer) -> None:
    with pytest.raises(InvalidStoreUrl):
        open_store(url, sealer, s3=S3)


def test_a_bucket_needs_a_server(sealer: Sealer) -> None:
    with pytest.raises(InvalidStoreUrl):
        open_store("s3://masks", sealer)

"""Makes a bucket as soon as the S3 server lets it be made: bucket.py HOST:PORT NAME."""

from __future__ import annotations

import os
import sys
import time

import urllib3
from minio import Minio
from minio.error import MinioException

WAIT_SECONDS = 60


def main(endpoint: str, name: str) -> None:
    """Raises what the server answered last where it did not within WAIT_SECONDS."""
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=2, read=5), retries=False)
    keys = {"access_key": os.environ["AWS_ACCESS_KEY_ID"], "secret_key": os.environ["AWS_SECRET_ACCESS_KEY"]}
    client = Minio(endpoint, **keys, secure=False, region="us-east-1", http_client=pool)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            if not client.bucket_exists(name):
                client.make_bucket(name)
            return
        except (MinioException, urllib3.exceptions.HTTPError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])

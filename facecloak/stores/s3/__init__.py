"""Masks in an S3 bucket (AWS, MinIO, SeaweedFS, Ceph, ...), through the minio SDK."""

from facecloak.stores.s3.bucket import S3Bucket, S3MaskStore
from facecloak.stores.s3.connection import S3Client, S3Connection

__all__ = ["S3Bucket", "S3Client", "S3Connection", "S3MaskStore"]

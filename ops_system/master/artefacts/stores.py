"""From settings to blob stores. Used by the composition root, the command `storage migrate`, and `doctor`."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ops_system.master.config import MasterConfig
from ops_system.model.errors import Invalid, UsageError
from ops_system.storage.blobs.base import BlobStore
from ops_system.storage.blobs.fallback import FallbackBlobs
from ops_system.storage.blobs.local import LocalBlobs
from ops_system.storage.blobs.minio import MinioBlobs, MinioSettings, check_settings

SPOOL = "spool"
"""Folder below the uploads in which bytes wait on their way to an S3 server."""


@contextlib.contextmanager
def open_store(config: MasterConfig) -> Iterator[BlobStore]:
    """Yield the store that `storage.type` names, backed by the other one where that is set up too.

    Raises UsageError naming each setting that is missing.
    """
    local = LocalBlobs(config.upload_dir().absolute())
    with contextlib.ExitStack() as stack:
        if config.storage.type == "minio":
            yield FallbackBlobs(stack.enter_context(open_minio(config)), local)
        elif _has_minio(config):
            yield FallbackBlobs(local, stack.enter_context(open_minio(config)))
        else:
            yield local


@contextlib.contextmanager
def open_minio(config: MasterConfig) -> Iterator[MinioBlobs]:
    """Yield the store of `storage.minio.*`. Raises UsageError naming each setting that is missing."""
    settings = minio_settings(config)
    try:
        check_settings(settings)
    except Invalid as problem:
        raise UsageError("{problem}", problem=problem) from problem
    with contextlib.closing(MinioBlobs(settings, spool_of(config))) as store:
        yield store


@contextlib.contextmanager
def open_backup_blobs(config: MasterConfig) -> Iterator[MinioBlobs | None]:
    """Yield the bucket of backups on the same S3 server; None where no server is set up. Raises UsageError."""
    if not _has_minio(config):
        yield None
        return
    settings = msgspec.structs.replace(minio_settings(config), bucket=config.backup.bucket)
    try:
        check_settings(settings)
    except Invalid as problem:
        raise UsageError("backup.bucket: {problem}", problem=problem) from problem
    with contextlib.closing(MinioBlobs(settings, config.folder().archives / SPOOL)) as store:
        yield store


def minio_settings(config: MasterConfig) -> MinioSettings:
    """Return how the S3 server is reached."""
    minio = config.storage.minio
    return MinioSettings(
        endpoint=minio.endpoint,
        access_key=minio.ak,
        secret_key=minio.sk.reveal(),
        bucket=minio.bucket,
        region=minio.region,
        is_secure=minio.use_ssl,
        ca_file=config.outbound.ca_file,
    )


def spool_of(config: MasterConfig) -> Path:
    """Return the folder in which bytes wait on their way to the S3 server."""
    return config.upload_dir().absolute() / SPOOL


def _has_minio(config: MasterConfig) -> bool:
    minio = config.storage.minio
    return bool(minio.endpoint and minio.ak and minio.sk.reveal())

"""Blobs on an S3 server (MinIO, SeaweedFS, AWS …): objects `sha256/ab/abcdef…` in one bucket. The home of `minio`.

Bytes are received in a folder of this machine first, where they are looked into; an object appears whole or not at all.
The client blocks, so it runs in threads of its own: a server that hangs never takes those of the rest of the master.
"""

import asyncio
import contextlib
import hashlib
import re
import ssl
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ops_system.model.errors import Invalid, NotFound, OpsError, StorageFull, Unavailable
from ops_system.storage.blobs.base import BlobInfo, check_match, check_sha256
from ops_system.storage.blobs.incoming import FileDraft, Incoming
from ops_system.storage.blobs.local import sync_and_hash

if TYPE_CHECKING:
    from minio import Minio

T = TypeVar("T")

PREFIX = "sha256/"
THREADS = 8
CONNECT_S = 5.0
SILENCE_S = 30.0  # so long the server may say nothing
TRIES = 3
RESUMES = 3  # a body that breaks off is asked for again from where it stands
PRESIGNED_S = 300
_CHUNK_BYTES = 256 << 10
_GONE = {"NoSuchKey", "NoSuchObject", "ResourceNotFound"}
_ADVICE = {
    "AccessDenied": "storage.minio.ak or sk is wrong, or may not read and write this bucket",
    "InvalidAccessKeyId": "the server does not know storage.minio.ak",
    "SignatureDoesNotMatch": "storage.minio.sk is not the secret of storage.minio.ak",
    "NoSuchBucket": "the bucket is gone: make it again, or set storage.minio.bucket",
    "RequestTimeTooSkewed": "the clocks of this machine and of the server differ: set them",
}
_NO_UPLOADS = {"NoSuchUpload", "NotImplemented", "MethodNotAllowed"}
_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_ENDPOINT = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage"}


class MinioSettings(msgspec.Struct, frozen=True):
    """How the server is reached. `ca_file`: authorities (PEM) trusted beside the system's; empty: none."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    region: str
    is_secure: bool
    ca_file: str = ""


class MinioBlobs:
    """A `BlobStore` in a bucket. `spool` is the folder in which bytes are received. The caller closes it."""

    def __init__(self, settings: MinioSettings, spool: Path) -> None:
        self._bucket = _Bucket(settings)
        self._incoming = Incoming(spool, self._settle)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")

    def close(self) -> None:
        """Start nothing more; what runs ends by its time limits."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def draft(
        self, *, expected_bytes: int = 0, limit_bytes: int | None = None
    ) -> AbstractAsyncContextManager[FileDraft]:
        """Begin to receive a blob. Raises StorageFull when `expected_bytes` do not fit into the spool."""
        return self._incoming.draft(expected_bytes=expected_bytes, limit_bytes=limit_bytes)

    async def put(
        self, source: AsyncIterable[bytes] | Path, expected_sha256: str | None = None, *, is_hashed: bool = False
    ) -> BlobInfo:
        """Store a stream, or move a local file in (it is gone from where it was). Raises Invalid on a mismatch."""
        if isinstance(source, Path):
            sha256 = await asyncio.to_thread(sync_and_hash, source, expected_sha256 if is_hashed else None)
            check_match(sha256, expected_sha256)
            size_bytes = source.stat().st_size
            await self._run(self._bucket.put, source, sha256)
            source.unlink()
            return BlobInfo(sha256, size_bytes)
        async with self.draft() as draft:
            async for chunk in source:
                await draft.write(chunk)
            return await draft.keep(expected_sha256)

    async def open_read(self, sha256: str, offset: int = 0) -> AsyncIterator[bytes]:
        """Iterate over the bytes from `offset` on. Raises NotFound, Unavailable; both also in the middle."""
        check_sha256(sha256)
        breaks = 0
        while True:
            body = await self._run(self._bucket.open, sha256, offset)
            try:
                while chunk := await self._run(body.read, _CHUNK_BYTES):
                    offset += len(chunk)
                    yield chunk
                return  # noqa: TRY300 - the end of the body is the end
            except Unavailable:
                breaks += 1
                if breaks > RESUMES:
                    raise
            finally:
                await asyncio.shield(self._run(body.close))

    def local_path(self, sha256: str) -> None:
        """No blob lies on this machine."""
        check_sha256(sha256)

    async def presign(self, sha256: str, file_name: str) -> str:
        """Return a URL by which a browser fetches the blob for five minutes."""
        return await self._run(self._bucket.presign, check_sha256(sha256), file_name)

    async def stat(self, sha256: str) -> BlobInfo | None:
        """Return what is stored under this hash, or None. Raises Unavailable, as all that follow."""
        return await self._run(self._bucket.stat, check_sha256(sha256))

    async def verify(self, sha256: str) -> bool:
        """Read the blob and tell whether its bytes still carry its name. Raises NotFound."""
        return await self._run(self._bucket.hash, check_sha256(sha256)) == sha256

    async def delete(self, sha256: str) -> bool:
        """Remove the blob; False when there was none."""
        return await self._run(self._bucket.remove, check_sha256(sha256))

    async def list(self) -> "list[BlobInfo]":
        """Return every blob, ordered by hash."""
        return await self._run(self._bucket.list)

    async def sweep(self) -> int:
        """Remove what broken uploads left on this machine; call once, before the first draft. Returns how many."""
        return await self._incoming.sweep()

    async def tidy(self) -> int:
        """End uploads in parts that nobody will finish. Returns how many."""
        return await self._run(self._bucket.abort_uploads)

    async def check(self) -> None:
        """Make the bucket when it is not there. Raises Unavailable: what is wrong, what to do."""
        await asyncio.to_thread(self._incoming.check_alive)
        await self._run(self._bucket.check)

    def _settle(self, source: Path, sha256: str) -> None:
        with self._bucket.told_errors():
            self._bucket.put(source, sha256)

    async def _run(self, call: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        with self._bucket.told_errors():
            return await loop.run_in_executor(self._threads, call, *arguments)


class _Bucket:
    """The blocking calls."""

    def __init__(self, settings: MinioSettings) -> None:
        self._settings = settings
        self._name = settings.bucket
        self._made: Minio | None = None
        self._making = threading.Lock()
        self._writing = threading.Lock()  # an upload under way must not be taken for one that was left

    @property
    def _client(self) -> "Minio":
        with self._making:
            if self._made is None:
                self._made = _connect(self._settings)
            return self._made

    def put(self, source: Path, sha256: str) -> None:
        """Upload a file; large ones in parts. The object is there when the server has all of it."""
        size_bytes = source.stat().st_size
        with self._writing, source.open("rb") as file:
            self._client.put_object(self._name, _key(sha256), file, size_bytes, content_type="application/zip")
        stored = self.stat(sha256)
        if stored is None or stored.size_bytes != size_bytes:
            found = "nothing" if stored is None else f"{stored.size_bytes} bytes"
            raise Unavailable(f"{self._where} took {size_bytes} bytes and now has {found}; look at the server")

    def open(self, sha256: str, offset: int) -> "_Body":
        """Begin to read. Raises NotFound."""
        with self.told_errors(sha256):
            return _Body(self._client.get_object(self._name, _key(sha256), offset=offset))

    def stat(self, sha256: str) -> BlobInfo | None:
        try:
            with self.told_errors(sha256):
                found = self._client.stat_object(self._name, _key(sha256))
        except NotFound:
            return None
        return BlobInfo(sha256, found.size or 0)

    def hash(self, sha256: str) -> str:
        digest, body = hashlib.sha256(), self.open(sha256, 0)
        try:
            while chunk := body.read(_CHUNK_BYTES):
                digest.update(chunk)
        finally:
            body.close()
        return digest.hexdigest()

    def remove(self, sha256: str) -> bool:
        if self.stat(sha256) is None:
            return False
        self._client.remove_object(self._name, _key(sha256))
        return True

    def list(self) -> "list[BlobInfo]":
        found = self._client.list_objects(self._name, prefix=PREFIX, recursive=True)
        blobs = (BlobInfo((one.object_name or "").rpartition("/")[2], one.size or 0) for one in found)
        return sorted((blob for blob in blobs if _is_name(blob.sha256)), key=lambda blob: blob.sha256)

    def presign(self, sha256: str, file_name: str) -> str:
        disposition = f'attachment; filename="{file_name}"'
        headers: dict[str, str | list[str] | tuple[str]] = {"response-content-disposition": disposition}
        life = timedelta(seconds=PRESIGNED_S)
        return self._client.presigned_get_object(self._name, _key(sha256), life, response_headers=headers)

    def abort_uploads(self) -> int:
        """End uploads in parts that are not ours: only this master writes below the prefix."""
        client: Any = self._client  # the client has no public call for this
        with self._writing:
            left = self._list_uploads(client)
            for one in left:
                client._abort_multipart_upload(self._name, one.object_name, one.upload_id)  # noqa: SLF001 - see above
        return len(left)

    def _list_uploads(self, client: Any) -> "Sequence[Any]":
        try:
            found = client._list_multipart_uploads(self._name, prefix=PREFIX)  # noqa: SLF001 - no public call
        except _client_errors() as error:
            if _code_of(error) in _NO_UPLOADS:  # the server has none, or does not tell
                return ()
            raise
        uploads: Sequence[Any] = found.uploads
        return uploads

    def check(self) -> None:
        if not self._client.bucket_exists(self._name):
            self._client.make_bucket(self._name)

    @property
    def _where(self) -> str:
        return f"the bucket {self._name} on {self._settings.endpoint}"

    @contextlib.contextmanager
    def told_errors(self, sha256: str = "") -> Iterator[None]:
        """Turn what the client raises into NotFound (of `sha256`), Unavailable or StorageFull, with words."""
        try:
            yield
        except _client_errors() as error:
            raise self._tell(error, sha256) from error

    def _tell(self, error: Exception, sha256: str) -> OpsError:
        code = _code_of(error)
        if sha256 and code in _GONE:
            return NotFound(f"no blob {sha256} in {self._where}", sha256=sha256)
        if code in _FULL:
            return StorageFull(f"{self._where} is full: {error}; free some space there")
        advice = _ADVICE.get(code)
        if advice is not None:
            return Unavailable(f"{self._where}: {advice} ({code})", code=code)
        return Unavailable(f"{self._where} cannot be used: {_plain(error)}; look at the server and storage.minio.*")


class _Body:
    """An answer that is being read."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def read(self, size_bytes: int) -> bytes:
        """Return the next bytes, empty at the end. Raises urllib3's HTTPError when the body breaks off."""
        data: bytes = self._response.read(size_bytes)
        return data

    def close(self) -> None:
        """Give the connection back."""
        self._response.close()
        self._response.release_conn()


def check_settings(settings: MinioSettings) -> None:
    """Raise Invalid naming each key under `storage.minio` that is missing or cannot be."""
    named = {"endpoint": settings.endpoint, "ak": settings.access_key, "sk": settings.secret_key}
    problems = [f"storage.minio.{key}: is needed for an S3 server" for key, value in named.items() if not value]
    if settings.endpoint and not _ENDPOINT.fullmatch(settings.endpoint):
        problems.append("storage.minio.endpoint: write HOST:PORT; storage.minio.use_ssl chooses https")
    problems += _bucket_problems(settings.bucket)
    if problems:
        raise Invalid("; ".join(problems), problems=problems)


def _bucket_problems(name: str) -> "list[str]":
    from minio.helpers import check_bucket_name

    try:
        check_bucket_name(name, strict=True)
    except ValueError as error:
        return [f"storage.minio.bucket: {error}"]
    return []


def _connect(settings: MinioSettings) -> "Minio":
    import urllib3
    from minio import Minio

    context = ssl.create_default_context()
    if settings.ca_file:
        context.load_verify_locations(settings.ca_file)
    pool = urllib3.PoolManager(
        maxsize=THREADS,
        timeout=urllib3.Timeout(connect=CONNECT_S, read=SILENCE_S),
        retries=urllib3.Retry(total=TRIES, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)),
        ssl_context=context,
    )
    return Minio(
        settings.endpoint,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        region=settings.region,  # or each client would ask for it, which some servers cannot answer
        secure=settings.is_secure,
        http_client=pool,
    )


def _client_errors() -> "tuple[type[Exception], ...]":
    from minio.error import MinioException
    from urllib3.exceptions import HTTPError

    return (MinioException, HTTPError, ssl.SSLError, ConnectionError, TimeoutError, ValueError)


def _code_of(error: Exception) -> str:
    """Return S3's error code; the client does not read it from an answer whose type is `text/xml`."""
    code = getattr(error, "code", None)
    if isinstance(code, str):
        return code
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _key(sha256: str) -> str:
    return f"{PREFIX}{sha256[:2]}/{sha256}"


def _is_name(text: str) -> bool:
    try:
        check_sha256(text)
    except Invalid:
        return False
    return True


def _plain(error: Exception) -> str:
    """Return the innermost reason: urllib3 wraps it several times."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, Exception):
        return _plain(reason)
    return str(error) or type(error).__name__

"""HTTP of packages and uploads: parse, call, answer."""

from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from ops_system.master.packages.download import ZIP, send_zip
from ops_system.master.packages.parts import PIECE_BYTES
from ops_system.master.packages.rules import PackageDiff, PackagePatch, PackageQuery, PackageUsage
from ops_system.master.packages.service import Packages
from ops_system.master.packages.uploads import UploadView
from ops_system.master.publishers.rules import SIGNATURE_HEADER
from ops_system.master.web.reply import Reply
from ops_system.master.web.route import Call, Nothing, Page, Permission, Route
from ops_system.model.packages import Package

PART = "application/octet-stream"
_ONE = "/packages/{name}/{version}"
_UPLOAD_ERRORS = ("invalid", "conflict", "too_large", "unsupported_media", "storage_full", "unavailable")


class NewUpload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An upload in parts: how many bytes will come, and (optionally) their sha256, checked at the end.

    `sender_key`: 64 hex digits of the sender's own making; its unfinished upload is found again by them.
    """

    size_bytes: int
    sha256: str | None = None
    sender_key: str | None = None


class CompleteUpload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`signature`: the content of `ZIP.sig` in base64, for a package that its publisher signed.

    `sha256`: of all that was sent, for a sender that learnt it on the way; other bytes are refused.
    """

    signature: str = ""
    sha256: str | None = None


class PartQuery(msgspec.Struct, frozen=True):
    """`offset`: where this part begins; it must be the upload's `received_bytes`."""

    offset: int = 0


class DownloadQuery(msgspec.Struct, frozen=True):
    """`direct`: be sent to the S3 server by a URL that is good for five minutes, where packages are there.

    Left out: as `storage.downloads` says.
    """

    direct: bool | None = None


class DiffQuery(msgspec.Struct, frozen=True):
    """`against`: the version to compare with."""

    against: str


def _created(made: tuple[Package, bool]) -> Reply:
    package, is_new = made
    return Reply(package, status=201 if is_new else 200)


def _elsewhere(url: str) -> web.Response:
    """Send the asker to the S3 server. The URL is a key to these bytes: nobody may keep it."""
    return web.Response(status=307, headers={"Location": url, "Cache-Control": "no-store"})


def _chunks(call: Call) -> AsyncIterator[bytes]:
    """Return the body as it comes in. While a piece is written, the next whole one may come."""
    content = call.request.content
    content.set_read_chunk_size(PIECE_BYTES)
    return content.iter_any().__aiter__()


def routes(service: Packages) -> list[Route]:
    """Return the routes of `/packages` and `/uploads`, and the workers' download."""
    return [
        *_package_routes(service),
        *_version_routes(service),
        *_download_routes(service),
        *_upload_routes(service),
    ]


def _package_routes(service: Packages) -> list[Route]:
    async def list_packages(call: Call) -> Page[Package]:
        return await service.list_page(call.query)

    async def upload_package(call: Call) -> Reply:
        size_bytes, signature = call.request.content_length, call.request.headers.get(SIGNATURE_HEADER, "")
        return _created(await service.upload(_chunks(call), size_bytes, call.principal, signature))

    async def get_package(call: Call) -> Package:
        return await service.get(call.params["name"], call.params["version"])

    async def delete_package(call: Call) -> Nothing:
        await service.delete(call.params["name"], call.params["version"], call.principal)
        return Nothing()

    return [
        Route(
            "GET",
            "/packages",
            Permission.VIEW,
            list_packages,
            "List packages, the newest version of each name first",
            "list_packages",
            answer=Page[Package],
            query=PackageQuery,
            tag="packages",
        ),
        Route(
            "POST",
            "/packages",
            Permission.OPERATE,
            upload_package,
            "Upload a package: the zip is the raw body, X-Ops-Signature the base64 of ZIP.sig. Same bytes: 200",
            "upload_package",
            answer=Package,
            body=bytes,
            status=201,
            other_answers=((200, Package),),
            media=ZIP,
            tag="packages",
            errors=_UPLOAD_ERRORS,
        ),
        Route(
            "GET",
            _ONE,
            Permission.VIEW,
            get_package,
            "Show one package",
            "get_package",
            answer=Package,
            tag="packages",
            errors=("not_found",),
        ),
        Route(
            "DELETE",
            _ONE,
            Permission.OPERATE,
            delete_package,
            "Delete a package that no module and no instance uses",
            "delete_package",
            tag="packages",
            errors=("not_found", "not_allowed"),
        ),
    ]


def _version_routes(service: Packages) -> list[Route]:
    async def mark_package(call: Call) -> Package:
        return await service.mark(call.params["name"], call.params["version"], call.body, call.principal)

    async def show_usage(call: Call) -> PackageUsage:
        return await service.show_usage(call.params["name"], call.params["version"], call.principal)

    async def diff_packages(call: Call) -> PackageDiff:
        return await service.diff(call.params["name"], call.params["version"], call.query.against)

    return [
        Route(
            "PATCH",
            _ONE,
            Permission.OPERATE,
            mark_package,
            "Change tags, note or pin of a version; its bytes never change",
            "mark_package",
            answer=Package,
            body=PackagePatch,
            tag="packages",
            errors=("not_found", "invalid"),
        ),
        Route(
            "GET",
            f"{_ONE}/usage",
            Permission.VIEW,
            show_usage,
            "Show which modules plan a version, which instances have it, which rollouts could return to it",
            "show_package_usage",
            answer=PackageUsage,
            tag="packages",
            errors=("not_found",),
        ),
        Route(
            "GET",
            f"{_ONE}/diff",
            Permission.VIEW,
            diff_packages,
            "Compare with the version `against`: service.json value by value, and the files",
            "diff_packages",
            answer=PackageDiff,
            query=DiffQuery,
            tag="packages",
            errors=("not_found", "unavailable"),
        ),
    ]


def _download_routes(service: Packages) -> list[Route]:
    async def download_package(call: Call) -> web.StreamResponse:
        name, version = call.params["name"], call.params["version"]
        url = await service.presign(name, version, call.query.direct)
        if url is not None:
            return _elsewhere(url)
        return await send_zip(call.request, await service.zip_of(name, version), f"{name}-{version}.zip")

    async def fetch_package(call: Call) -> web.StreamResponse:
        sha256 = call.params["sha256"]
        url = await service.presign_sha256(sha256, call.query.direct)
        if url is not None:
            return _elsewhere(url)
        return await send_zip(call.request, await service.zip_by_sha256(sha256), f"{sha256}.zip")

    return [
        Route(
            "GET",
            f"{_ONE}/download",
            Permission.VIEW,
            download_package,
            "Download the zip (Range is understood)",
            "download_package",
            answer=web.StreamResponse,
            other_answers=((206, web.StreamResponse), (307, web.StreamResponse)),
            query=DownloadQuery,
            media=ZIP,
            tag="packages",
            errors=("not_found", "unavailable"),
        ),
        Route(
            "GET",
            "/worker/packages/{sha256}",
            Permission.NODE,
            fetch_package,
            "Download a zip by its sha256, as a worker with a live link (Range is understood)",
            "fetch_package",
            answer=web.StreamResponse,
            other_answers=((206, web.StreamResponse), (307, web.StreamResponse)),
            query=DownloadQuery,
            media=ZIP,
            tag="packages",
            errors=("not_found", "unavailable"),
        ),
    ]


def _upload_routes(service: Packages) -> list[Route]:
    async def create_upload(call: Call) -> Reply:
        body = call.body
        upload, is_new = await service.uploads.begin(body.size_bytes, body.sha256, call.principal, body.sender_key)
        return Reply(upload, status=201 if is_new else 200)

    async def get_upload(call: Call) -> UploadView:
        return await service.uploads.get(call.params["id"])

    async def put_part(call: Call) -> UploadView:
        return await service.uploads.add_part(call.params["id"], call.query.offset, _chunks(call))

    async def complete_upload(call: Call) -> Reply:
        body = call.body
        made = await service.complete_upload(call.params["id"], call.principal, body.signature, body.sha256)
        return _created(made)

    async def abort_upload(call: Call) -> Nothing:
        await service.uploads.abort(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "POST",
            "/uploads",
            Permission.OPERATE,
            create_upload,
            "Announce an upload in parts; one of the same bytes that was begun is answered with 200. Swept after 24 h",
            "create_upload",
            answer=UploadView,
            body=NewUpload,
            status=201,
            other_answers=((200, UploadView),),
            tag="packages",
            errors=("invalid", "too_large", "storage_full"),
        ),
        Route(
            "GET",
            "/uploads/{id}",
            Permission.OPERATE,
            get_upload,
            "Show how many bytes have arrived: where to go on after a break",
            "get_upload",
            answer=UploadView,
            tag="packages",
            errors=("not_found",),
        ),
        Route(
            "PUT",
            "/uploads/{id}",
            Permission.OPERATE,
            put_part,
            "Send the part that begins at `offset`",
            "put_upload_part",
            answer=UploadView,
            body=bytes,
            query=PartQuery,
            media=PART,
            tag="packages",
            errors=("not_found", *_UPLOAD_ERRORS),
        ),
        Route(
            "POST",
            "/uploads/{id}/complete",
            Permission.OPERATE,
            complete_upload,
            "Make a package of a whole upload; answers as POST /packages",
            "complete_upload",
            answer=Package,
            body=CompleteUpload,
            status=201,
            other_answers=((200, Package),),
            tag="packages",
            errors=("not_found", *_UPLOAD_ERRORS),
        ),
        Route(
            "DELETE",
            "/uploads/{id}",
            Permission.OPERATE,
            abort_upload,
            "Forget an upload and its bytes",
            "abort_upload",
            tag="packages",
            errors=("not_found", "conflict"),
        ),
    ]

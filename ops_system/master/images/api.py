"""HTTP of images and of the catalogue of operating systems: parse, call, answer."""

from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from ops_system.master.images.library import Images
from ops_system.master.images.rules import Image, ImageFacts, ImageOfUpload, ImageQuery, ImageUser
from ops_system.master.packages.download import send_zip
from ops_system.master.publishers.rules import SIGNATURE_HEADER
from ops_system.master.web.reply import Reply
from ops_system.master.web.route import Call, Nothing, Page, Permission, Route
from ops_system.model.catalogue import RELEASES, Release

TAG = "provisioning"
OCTETS = "application/octet-stream"
_ONE = "/images/{name}/{version}"
_UPLOAD_ERRORS = (
    "invalid",
    "conflict",
    "forbidden",
    "too_large",
    "unsupported_media",
    "storage_full",
    "unavailable",
)


class ImageUsage(msgspec.Struct, frozen=True):
    """Who needs an image now."""

    users: list[ImageUser]


def routes(images: Images) -> list[Route]:
    """Return the routes of `/images` and `/os-catalogue`."""
    return [*_read_routes(images), *_write_routes(images), *_content_routes(images)]


def _created(made: tuple[Image, bool]) -> Reply:
    image, is_new = made
    return Reply(image, status=201 if is_new else 200)


def _chunks(call: Call) -> AsyncIterator[bytes]:
    return call.request.content.iter_any().__aiter__()


def _read_routes(images: Images) -> list[Route]:
    async def list_releases(_call: Call) -> Page[Release]:
        return Page(items=list(RELEASES), total=len(RELEASES))

    async def list_images(call: Call) -> Page[Image]:
        return await images.list_page(call.query)

    async def get_image(call: Call) -> Image:
        return await images.get(call.params["name"], call.params["version"])

    async def show_usage(call: Call) -> ImageUsage:
        image = await images.get(call.params["name"], call.params["version"])
        return ImageUsage(await images.users_of(image))

    return [
        Route(
            "GET",
            "/os-catalogue",
            Permission.VIEW,
            list_releases,
            "List the operating systems that can be installed, and how",
            "list_os_catalogue",
            answer=Page[Release],
            tag=TAG,
        ),
        Route(
            "GET",
            "/images",
            Permission.VIEW,
            list_images,
            "List images, the newest version of each name first",
            "list_images",
            answer=Page[Image],
            query=ImageQuery,
            tag=TAG,
            errors=("invalid", "unavailable"),
        ),
        Route(
            "GET",
            _ONE,
            Permission.VIEW,
            get_image,
            "Show one image with its checksums",
            "get_image",
            answer=Image,
            tag=TAG,
            errors=("not_found", "unavailable"),
        ),
        Route(
            "GET",
            f"{_ONE}/usage",
            Permission.VIEW,
            show_usage,
            "Show which unfinished tasks and which profiles need an image",
            "show_image_usage",
            answer=ImageUsage,
            tag=TAG,
            errors=("not_found", "unavailable"),
        ),
    ]


def _write_routes(images: Images) -> list[Route]:
    async def upload_image(call: Call) -> Reply:
        size_bytes, signature = call.request.content_length, call.request.headers.get(SIGNATURE_HEADER, "")
        return _created(await images.upload(_chunks(call), size_bytes, call.query, call.principal, signature))

    async def take_upload(call: Call) -> Reply:
        body: ImageOfUpload = call.body
        facts = ImageFacts(**{name: getattr(body, name) for name in ImageFacts.__struct_fields__})
        return _created(await images.take_upload(body.upload_id, facts, call.principal, body.signature))

    async def delete_image(call: Call) -> Nothing:
        await images.delete(call.params["name"], call.params["version"], call.principal)
        return Nothing()

    return [
        Route(
            "POST",
            "/images",
            Permission.ADMIN,
            upload_image,
            "Upload an image: the file is the raw body, X-Ops-Signature its publisher's signature. Same bytes: 200",
            "upload_image",
            answer=Image,
            body=bytes,
            query=ImageFacts,
            status=201,
            other_answers=((200, Image),),
            media=OCTETS,
            tag=TAG,
            errors=_UPLOAD_ERRORS,
        ),
        Route(
            "POST",
            "/images/from-upload",
            Permission.ADMIN,
            take_upload,
            "Make an image of a whole upload that came in parts by /uploads; answers as POST /images",
            "create_image_from_upload",
            answer=Image,
            body=ImageOfUpload,
            status=201,
            other_answers=((200, Image),),
            tag=TAG,
            errors=("not_found", *_UPLOAD_ERRORS),
        ),
        Route(
            "DELETE",
            _ONE,
            Permission.ADMIN,
            delete_image,
            "Delete an image that no unfinished task and no profile needs",
            "delete_image",
            tag=TAG,
            errors=("not_found", "not_allowed", "unavailable"),
        ),
    ]


def _content_routes(images: Images) -> list[Route]:
    async def send(call: Call) -> web.StreamResponse:
        name, version = call.params["name"], call.params["version"]
        file_name = f"{name}-{version}.{(await images.get(name, version)).format}"
        return await send_zip(call.request, await images.content(name, version), file_name, OCTETS)

    def route(path: str, permission: Permission, summary: str, operation_id: str) -> Route:
        return Route(
            "GET",
            f"{_ONE}/{path}",
            permission,
            send,
            summary,
            operation_id,
            answer=web.StreamResponse,
            other_answers=((206, web.StreamResponse),),
            media=OCTETS,
            tag=TAG,
            errors=("not_found", "unavailable"),
        )

    return [
        route("download", Permission.VIEW, "Download the file of an image (Range is understood)", "download_image"),
        route("content", Permission.REGIONAL, "The same for the cache of a regional client", "fetch_image"),
    ]

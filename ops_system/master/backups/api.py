"""HTTP of backups: parse, call, answer."""

from collections.abc import AsyncIterator

from aiohttp import web

from ops_system.master.backups.rules import (
    Backup,
    BackupAccepted,
    BackupPage,
    BackupPassphrase,
    BackupQuery,
    BackupSettings,
    BackupSettingsChange,
    NewBackup,
    Restored,
    RestoreOrder,
)
from ops_system.master.backups.service import Backups, Stored
from ops_system.master.web.route import Call, Nothing, Permission, Route

MEDIA = "application/octet-stream"
_TAG = "backups"


async def _send(call: Call, stored: Stored) -> web.StreamResponse:
    headers = {
        "Content-Type": MEDIA,
        "Content-Disposition": f'attachment; filename="{stored.name}"',
        "Cache-Control": "no-store",
    }
    if stored.path is not None:
        return web.FileResponse(stored.path, headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = stored.size_bytes
    first = await anext(stored.pieces, b"")
    await response.prepare(call.request)
    await response.write(first)
    async for piece in stored.pieces:
        await response.write(piece)
    await response.write_eof()
    return response


def _chunks(call: Call) -> AsyncIterator[bytes]:
    return call.request.content.iter_any().__aiter__()


def routes(service: Backups) -> list[Route]:
    """Return the routes of `/backups`."""
    return [*_list_routes(service), *_act_routes(service), *_transfer_routes(service)]


def _list_routes(service: Backups) -> list[Route]:
    async def list_backups(call: Call) -> BackupPage:
        return await service.list_page(call.query)

    async def get_settings(_call: Call) -> BackupSettings:
        return await service.get_settings()

    async def change_settings(call: Call) -> BackupSettings:
        return await service.change_settings(call.body, call.principal)

    async def get_restored(_call: Call) -> Restored:
        return await service.get_restored()

    async def get_backup(call: Call) -> Backup:
        return await service.get(call.params["name"])

    return [
        Route(
            "GET",
            "/backups",
            Permission.VIEW,
            list_backups,
            "List backups, the newest first",
            "list_backups",
            answer=BackupPage,
            query=BackupQuery,
            tag=_TAG,
            errors=("invalid",),
        ),
        Route(
            "GET",
            "/backups/settings",
            Permission.VIEW,
            get_settings,
            "Show where backups go, what they hold and how long they are kept",
            "get_backup_settings",
            answer=BackupSettings,
            tag=_TAG,
        ),
        Route(
            "PUT",
            "/backups/settings",
            Permission.ADMIN,
            change_settings,
            "Change the settings; the passphrase is sealed and never shown",
            "change_backup_settings",
            answer=BackupSettings,
            body=BackupSettingsChange,
            needs_step_up=True,
            tag=_TAG,
            errors=("invalid",),
        ),
        Route(
            "GET",
            "/backups/restored",
            Permission.VIEW,
            get_restored,
            "Show the last restore, and what runs on nodes although the restored data does not know it",
            "get_restored",
            answer=Restored,
            tag=_TAG,
        ),
        Route(
            "GET",
            "/backups/{name}",
            Permission.VIEW,
            get_backup,
            "Show one backup",
            "get_backup",
            answer=Backup,
            tag=_TAG,
            errors=("not_found",),
        ),
    ]


def _act_routes(service: Backups) -> list[Route]:
    async def create_backup(call: Call) -> BackupAccepted:
        return BackupAccepted(await service.create(call.body, call.principal))

    async def verify_backup(call: Call) -> BackupAccepted:
        return BackupAccepted(await service.verify(call.params["name"], call.body, call.principal))

    async def restore_backup(call: Call) -> BackupAccepted:
        return BackupAccepted(await service.restore(call.params["name"], call.body, call.principal))

    async def delete_backup(call: Call) -> Nothing:
        await service.delete(call.params["name"], call.principal)
        return Nothing()

    return [
        Route(
            "POST",
            "/backups",
            Permission.ADMIN,
            create_backup,
            "Make a backup while everything goes on",
            "create_backup",
            answer=BackupAccepted,
            body=NewBackup,
            status=202,
            tag=_TAG,
            errors=("invalid", "conflict", "storage_full"),
        ),
        Route(
            "POST",
            "/backups/{name}/verify",
            Permission.ADMIN,
            verify_backup,
            "Read a backup through and open its database",
            "verify_backup",
            answer=BackupAccepted,
            body=BackupPassphrase,
            status=202,
            tag=_TAG,
            errors=("invalid", "not_found", "conflict"),
        ),
        Route(
            "POST",
            "/backups/{name}/restore",
            Permission.ADMIN,
            restore_backup,
            "Put the data of a backup in place of the present one; the master starts again and all sessions end",
            "restore_backup",
            answer=BackupAccepted,
            body=RestoreOrder,
            status=202,
            needs_step_up=True,
            tag=_TAG,
            errors=("invalid", "not_found", "conflict"),
        ),
        Route(
            "DELETE",
            "/backups/{name}",
            Permission.ADMIN,
            delete_backup,
            "Delete a backup",
            "delete_backup",
            needs_step_up=True,
            tag=_TAG,
            errors=("not_found", "unavailable"),
        ),
    ]


def _transfer_routes(service: Backups) -> list[Route]:
    async def download_backup(call: Call) -> web.StreamResponse:
        return await _send(call, await service.open(call.params["name"], call.principal))

    async def upload_backup(call: Call) -> Backup:
        return await service.upload(_chunks(call), call.request.content_length, call.principal)

    return [
        Route(
            "GET",
            "/backups/{name}/download",
            Permission.ADMIN,
            download_backup,
            "Download a backup. It holds every key of this master: keep it as you keep the data folder",
            "download_backup",
            answer=web.StreamResponse,
            other_answers=((206, web.StreamResponse),),
            media=MEDIA,
            needs_step_up=True,
            tag=_TAG,
            errors=("not_found", "unavailable"),
        ),
        Route(
            "PUT",
            "/backups/upload",
            Permission.ADMIN,
            upload_backup,
            "Bring a backup in: the file is the raw body, at most 2 GiB",
            "upload_backup",
            answer=Backup,
            body=bytes,
            status=201,
            media=MEDIA,
            tag=_TAG,
            errors=("invalid", "conflict", "too_large", "unsupported_media", "storage_full"),
        ),
    ]

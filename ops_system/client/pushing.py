"""`ops packages push`: a zip to the master. Large ones go in parts; a broken connection goes on where it stopped."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ops_system.cli import EXIT_FINE, Argument
from ops_system.client.acts import Special
from ops_system.client.connection import Master, fill
from ops_system.client.desk import Desk
from ops_system.client.render import clean
from ops_system.client.shapes import Json, Refused
from ops_system.model.errors import Unavailable, UsageError
from ops_system.model.quantities import format_size
from ops_system.runtime.outgoing import Outgoing, sender_key

WHOLE_BYTES = 16 * 1024 * 1024  # up to here one request
PART_BYTES = 64 * 1024 * 1024
TRIES, BETWEEN_S = 6, 1.0


def push(desk: Desk) -> int:
    """Bring a package to the master and show it."""
    path = Path(desk.parsed.arguments["ZIP"])
    try:
        size_bytes = path.stat().st_size
        package = _whole(desk.master, path) if size_bytes <= WHOLE_BYTES else _in_parts(desk, path, size_bytes)
    except OSError as error:
        raise UsageError("{path}: {trouble}", path=path, trouble=error.strerror or error) from error
    if desk.output != "table" or desk.is_quiet:
        desk.show(package)
    else:
        names = {key: clean(str(package[key])) for key in ("name", "version", "sha256")}
        desk.print(desk.words.say("push.done", **names))
    return EXIT_FINE


def _whole(master: Master, path: Path) -> Json:
    return master.send("POST", "/packages", path.read_bytes(), {"Content-Type": "application/zip"}).json()


def _in_parts(desk: Desk, path: Path, size_bytes: int) -> Json:
    def complete(upload_id: str, sha256: str) -> Json:
        place = fill("/uploads/{id}/complete", {"id": upload_id})
        return desk.master.ask("POST", place, {"sha256": sha256}).json()

    return send_in_parts(desk, path, size_bytes, complete)


def send_in_parts(desk: Desk, path: Path, size_bytes: int, complete: Callable[[str, str], Json]) -> Json:
    """Send a file by /uploads and return what `complete` makes of it: its upload's id and its SHA-256 are given."""
    wanted = {"size_bytes": size_bytes, "sender_key": sender_key(path)}
    upload = desk.master.ask("POST", "/uploads", wanted).json()
    place = fill("/uploads/{id}", {"id": str(upload["id"])})
    try:
        with Outgoing(path) as outgoing:
            _send_parts(desk, outgoing, place, int(upload["received_bytes"]), size_bytes)
            return complete(str(upload["id"]), outgoing.sha256())
    except (Refused, KeyboardInterrupt):
        desk.master.close()
        desk.master.ask("DELETE", place)
        raise


def _send_parts(desk: Desk, outgoing: Outgoing, place: str, offset: int, size_bytes: int) -> None:
    tries = 0
    while offset < size_bytes:
        part = _Part(outgoing, offset, min(PART_BYTES, size_bytes - offset), lambda at: _tell(desk, at, size_bytes))
        headers = {**OCTETS, "Content-Length": str(part.count)}
        try:
            answer = desk.master.send("PUT", place, part, headers, {"offset": offset}).json()
            offset, tries = int(answer["received_bytes"]), 0
        except Unavailable:
            tries += 1
            if tries >= TRIES:
                raise
            time.sleep(BETWEEN_S * tries)
            offset = _received(desk.master, place, offset)
        _tell(desk, offset, size_bytes)
    _tell(desk, -1, size_bytes)


class _Part:
    """`count` bytes from `offset` on, as often as they are asked for."""

    def __init__(self, outgoing: Outgoing, offset: int, count: int, tell: Callable[[int], None]) -> None:
        self.count = count
        self._outgoing = outgoing
        self._offset = offset
        self._tell = tell

    def __iter__(self) -> Iterator[memoryview]:
        sent_bytes = self._offset
        for piece in self._outgoing.pieces(self._offset, self.count):
            yield piece
            sent_bytes += len(piece)
            self._tell(sent_bytes)


OCTETS = {"Content-Type": "application/octet-stream"}


def _received(master: Master, place: str, offset: int) -> int:
    try:
        return int(master.get(place)["received_bytes"])
    except Unavailable:
        return offset


def _tell(desk: Desk, offset: int, size_bytes: int) -> None:
    if desk.around.stderr.isatty() and not desk.is_quiet:
        shown = (
            "" if offset < 0 else f"{desk.words.say('push.sending')} {format_size(offset)} / {format_size(size_bytes)}"
        )
        desk.around.stderr.write(f"\r\x1b[K{shown}")
        desk.around.stderr.flush()


def upload_backup(desk: Desk) -> int:
    """Bring a backup's file to the master, which looks at it before it keeps it."""
    path = Path(desk.parsed.arguments["FILE"])
    try:
        with path.open("rb") as file:
            headers = {**OCTETS, "Content-Length": str(path.stat().st_size)}
            desk.show(desk.master.send("PUT", "/backups/upload", file, headers).json())
    except OSError as error:
        raise UsageError("{path}: {trouble}", path=path, trouble=error.strerror or error) from error
    return EXIT_FINE


PUSHING = (
    Special(
        ("backups", "upload"),
        ("bring a backup from elsewhere to the master", "把备份文件上传到主控"),
        upload_backup,
        (Argument("FILE"),),
        uses=("PUT /backups/upload",),
    ),
    Special(
        ("packages", "push"),
        ("upload a package; pack-tool makes and signs them", "上传服务包（由 pack-tool 制作和签名）"),
        push,
        (Argument("ZIP"),),
        (),
        (
            "POST /packages",
            "POST /uploads",
            "GET /uploads/{id}",
            "PUT /uploads/{id}",
            "DELETE /uploads/{id}",
            "POST /uploads/{id}/complete",
        ),
    ),
)

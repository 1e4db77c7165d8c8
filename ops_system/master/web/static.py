"""Serves the built console out of the package: hashed assets for ever, `index.html` for every page of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from aiohttp import web

from ops_system.model.errors import NotFound

CONSOLE_FOLDER = Path(__file__).parent.parent / "console"
_FOREVER = "public, max-age=31536000, immutable"
_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".json": "application/json",
        ".svg": "image/svg+xml",
        ".png": "image/png",
        ".ico": "image/x-icon",
        ".woff2": "font/woff2",
        ".map": "application/json",
        ".txt": "text/plain; charset=utf-8",
        ".webmanifest": "application/manifest+json",
    }
)
_ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
_NOT_BUILT = (
    "<!doctype html><html lang='en'><meta charset='utf-8'><title>ops-system</title>"
    "<body><h1>The console is not built</h1><p>The API works. Run <code>make install</code> (or "
    "<code>npm run build</code> in <code>frontend/</code>) and reload.</p>"
    "<h1 lang='zh'>控制台尚未构建</h1><p lang='zh'>API 可用。请运行 <code>make install</code> 后刷新。</p>"
)


@dataclass(frozen=True, slots=True)
class _Asset:
    """One file, with the compressed twins that lie beside it. Small enough to keep: the console is about 2 MB."""

    media: str
    tag: str
    is_hashed: bool
    plain: bytes
    packed: Mapping[str, bytes]


class Console:
    """The console's files, read on first use and kept while the file on the disk stays the same."""

    def __init__(self, folder: Path = CONSOLE_FOLDER) -> None:
        self._folder = folder
        self._kept: dict[str, tuple[int, _Asset]] = {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a GET outside the API: a file, or the page that finds its own way by the URL.

        Raises `NotFound` for a missing file; a path that wants HTML gets the console's page.
        """
        asset = self._asset(request.path.lstrip("/"))
        if asset is None and self._wants_page(request):
            asset = self._asset("index.html")
            if asset is None:
                return web.Response(text=_NOT_BUILT, content_type="text/html", status=503)
        if asset is None:
            raise NotFound(f"no such file: {request.path}", path=request.path)
        return _respond(request, asset)

    def _wants_page(self, request: web.Request) -> bool:
        """Whether this is a page of the console: what a browser goes to, or any path without a file's ending.

        A page's path may end like a file's: /packages/web/1.0.0.
        """
        accepts = request.headers.get("Accept", "*/*")
        if request.path.startswith("/assets/"):
            return False
        return "text/html" in accepts or ("*/*" in accepts and "." not in request.path.rpartition("/")[2])

    def _asset(self, name: str) -> _Asset | None:
        path = self._path(name)
        if path is None:
            return None
        changed_ns = path.stat().st_mtime_ns
        kept = self._kept.get(name)
        if kept is None or kept[0] != changed_ns:
            kept = (changed_ns, _read(path, name))
            self._kept[name] = kept
        return kept[1]

    def _path(self, name: str) -> Path | None:
        """Return the file of that name inside the folder; never one outside it, hidden, or a folder."""
        parts = name.split("/")
        if not name or any(part in {"", ".", ".."} or part.startswith(".") or "\\" in part for part in parts):
            return None
        if "\0" in name or parts[-1].endswith((".br", ".gz")):
            return None
        path = self._folder.joinpath(*parts)
        if path.suffix not in _TYPES or not path.is_file():
            return None
        return path if path.resolve().is_relative_to(self._folder.resolve()) else None


def _read(path: Path, name: str) -> _Asset:
    plain = path.read_bytes()
    twins = {encoding: path.with_name(path.name + ending) for encoding, ending in _ENCODINGS}
    packed = {encoding: twin.read_bytes() for encoding, twin in twins.items() if twin.is_file()}
    tag = hashlib.sha256(plain).hexdigest()[:32]
    return _Asset(_TYPES[path.suffix], tag, name.startswith("assets/"), plain, MappingProxyType(packed))


def _respond(request: web.Request, asset: _Asset) -> web.StreamResponse:
    accepted = request.headers.get("Accept-Encoding", "").lower()
    encoding = next((name for name in asset.packed if name in accepted), None)
    tag = f'"{asset.tag}-{encoding}"' if encoding else f'"{asset.tag}"'
    headers = {
        "ETag": tag,
        "Cache-Control": _FOREVER if asset.is_hashed else "no-cache",
        "Content-Type": asset.media,
        "Vary": "Accept-Encoding",
    }
    if tag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers={name: headers[name] for name in ("ETag", "Cache-Control", "Vary")})
    if encoding:
        headers["Content-Encoding"] = encoding
    return web.Response(body=asset.packed[encoding] if encoding else asset.plain, headers=headers)

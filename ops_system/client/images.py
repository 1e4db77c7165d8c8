"""The commands on images of operating systems, install profiles and their templates."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from ops_system.cli import EXIT_FINE, Argument, Flag
from ops_system.client.acts import Act, Entry, Special, act, by_query, in_body, names
from ops_system.client.pushing import OCTETS, WHOLE_BYTES, send_in_parts
from ops_system.client.render import Column, age, size
from ops_system.client.shapes import Json
from ops_system.model.errors import UsageError
from ops_system.model.kinds import LABELS, TEXT, choice, integer

if TYPE_CHECKING:
    from ops_system.client.desk import Desk

_FORMATS = choice("raw", "raw.gz", "raw.zst", "tar.gz", "tar.zst", "kernel", "initrd")
_METHODS = choice("image", "debootstrap", "kickstart", "preseed", "autoinstall", "hardware_test", "rescue")
_SYSTEMS = (
    Column("SYSTEM", "os_type"),
    Column("VERSION", "os_version"),
    Column("CODENAME", "codename"),
    Column("METHODS", "methods"),
)
_IMAGES = (
    Column("NAME", "name"),
    Column("VERSION", "version"),
    Column("SYSTEM", "os_type"),
    Column("OS", "os_version"),
    Column("FORMAT", "format"),
    Column("ARCH", "arch"),
    Column("SIZE", "size_bytes", size, is_number=True),
    Column("SHA256", "sha256"),
    Column("AGE", "created_at", age, is_number=True),
)
_USERS = (Column("KIND", "kind"), Column("ID", "id"))
_PROFILES = (
    Column("NAME", "name"),
    Column("VERSION", "version", is_number=True),
    Column("METHOD", "method"),
    Column("SYSTEM", "os_type"),
    Column("OS", "os_version"),
    Column("CHANGED", "changed_at", age, is_number=True),
    Column("BY", "changed_by"),
)
_TEMPLATES = (Column("KIND", "kind"),)
_FACTS = {
    "name": Flag("name", TEXT, "of the image"),
    "version": Flag("image-version", TEXT, "of the image"),
    "format": Flag("format", _FORMATS, "what the file is; guessed by its name where left out"),
    "os_type": Flag("os", TEXT, "the system in it, as in a task"),
    "os_version": Flag("os-version", TEXT, "its version"),
    "arch": Flag("arch", choice("amd64", "arm64"), "of the machines it is for"),
    "note": Flag("note", TEXT, "for people"),
    "content_sha256": Flag("content-sha256", TEXT, "of what comes out of it; other bytes are refused"),
}
_SUFFIXES = {".tar.gz": "tar.gz", ".tgz": "tar.gz", ".tar.zst": "tar.zst", ".gz": "raw.gz", ".zst": "raw.zst"}


def push(desk: "Desk") -> int:
    """Bring an image to the master, with the signature beside it, and show it. Large ones go in parts."""
    path = Path(desk.parsed.arguments["FILE"])
    facts = _facts(desk, path)
    try:
        signature = _signature_beside(path)
        size_bytes = path.stat().st_size
        if size_bytes <= WHOLE_BYTES:
            headers = OCTETS | ({"X-Ops-Signature": signature} if signature else {})
            image = desk.master.send("POST", "/images", path.read_bytes(), headers, facts).json()
        else:
            image = _push_in_parts(desk, path, size_bytes, facts | {"signature": signature})
    except OSError as error:
        raise UsageError("{path}: {trouble}", path=path, trouble=error.strerror or error) from error
    desk.show(image)
    return EXIT_FINE


def _push_in_parts(desk: "Desk", path: Path, size_bytes: int, facts: dict[str, str]) -> Json:
    def complete(upload_id: str, sha256: str) -> Json:
        body = {**facts, "upload_id": upload_id, "sha256": sha256}
        return desk.master.ask("POST", "/images/from-upload", body).json()

    return send_in_parts(desk, path, size_bytes, complete)


def _signature_beside(path: Path) -> str:
    """Return what `pack-tool sign-image` wrote beside the file, in base64; empty when it did not."""
    beside = path.with_name(f"{path.name}.sig")
    return base64.b64encode(beside.read_bytes()).decode() if beside.exists() else ""


def _facts(desk: "Desk", path: Path) -> dict[str, str]:
    told = {name: value for name, flag in _FACTS.items() if (value := desk.parsed.text(flag.name))}
    guessed = next((kind for suffix, kind in _SUFFIXES.items() if path.name.endswith(suffix)), "raw")
    return {"name": path.name.partition(".")[0], "version": "1", "format": guessed} | told


_PROFILE_FIELDS = (
    in_body("method", "how it installs", _METHODS),
    in_body("os_type", "the system, as in a task", flag="os"),
    in_body("os_version", "its version"),
    in_body("image", "name of an image, or name/version"),
    in_body("kernel", "of the installer: name of an image, or name/version"),
    in_body("initrd", "of the installer: name of an image, or name/version"),
    in_body("kernel_args", "more words for the kernel"),
    in_body("template", "kickstart, preseed or autoinstall; @FILE"),
    in_body("values", "what fills values.NAME in the template", LABELS),
    names("packages", "to install besides"),
    in_body("note", "for people"),
)
_IMAGE_ACTS: tuple[Act, ...] = (
    act(
        "images list",
        "GET /images",
        ("list images of operating systems", "列出操作系统镜像"),
        fields=(
            by_query("name", "this one alone"),
            by_query("os_type", "of this system", flag="os"),
            by_query("os_version", "of this version"),
            by_query("format", "of this format", _FORMATS),
        ),
        columns=_IMAGES,
    ),
    act(
        "images show",
        "GET /images/{name}/{version}",
        ("show one image with its checksums", "显示一个镜像及其校验和"),
        "IMAGE:name",
        "VERSION:version",
    ),
    act(
        "images usage",
        "GET /images/{name}/{version}/usage",
        ("which tasks and profiles need an image", "镜像的使用者"),
        "IMAGE:name",
        "VERSION:version",
        columns=_USERS,
        is_whole=True,
    ),
    act(
        "images download",
        "GET /images/{name}/{version}/download",
        ("save an image's file", "下载镜像文件"),
        "IMAGE:name",
        "VERSION:version",
        saves=True,
    ),
    act(
        "images delete",
        "DELETE /images/{name}/{version}",
        ("remove an image that nothing needs", "删除未被使用的镜像"),
        "IMAGE:name",
        "VERSION:version",
        confirm=("its file is removed from the master", "将从主控删除其文件"),
    ),
    act(
        "images systems",
        "GET /os-catalogue",
        ("the operating systems that can be installed", "可安装的操作系统"),
        columns=_SYSTEMS,
        is_whole=True,
    ),
)
_PROFILE_ACTS: tuple[Act, ...] = (
    act("profiles list", "GET /profiles", ("list install profiles", "列出安装配置"), columns=_PROFILES),
    act("profiles show", "GET /profiles/{name}", ("show one profile", "显示一个安装配置"), "PROFILE:name"),
    act(
        "profiles create",
        "POST /profiles",
        ("keep a new profile: --template @FILE, or all of it by --file", "新建安装配置"),
        "NAME:name",
        fields=_PROFILE_FIELDS,
        takes_file=True,
    ),
    act(
        "profiles change",
        "PUT /profiles/{name}",
        ("put a profile in the place of another", "替换安装配置"),
        "PROFILE:name",
        fields=(*_PROFILE_FIELDS, in_body("if_version", "refused unless it is still this version", integer(1))),
        takes_file=True,
    ),
    act(
        "profiles delete",
        "DELETE /profiles/{name}",
        ("remove a profile and its past", "删除安装配置及其历史"),
        "PROFILE:name",
        confirm=("its earlier versions go too", "其历史版本也将删除"),
    ),
    act(
        "profiles versions",
        "GET /profiles/{name}/versions",
        ("how a profile was", "安装配置的历史版本"),
        "PROFILE:name",
        columns=_PROFILES,
    ),
    act(
        "profiles rollback",
        "POST /profiles/{name}/rollback",
        ("make an earlier version the newest", "回退安装配置"),
        "PROFILE:name",
        fields=(in_body("version", "to return to", integer(1), flag="to-version"),),
    ),
    act(
        "profiles preview",
        "POST /profiles/preview",
        ("the text an installer would get", "预览安装程序收到的文本"),
        "PROFILE:name",
        fields=(in_body("idc", "of the machine"), in_body("sn", "of the machine; left out: a sample")),
        takes_file=True,
    ),
    act(
        "profiles templates",
        "GET /install-templates",
        ("the product's own templates", "内置模板"),
        columns=_TEMPLATES,
        is_whole=True,
    ),
)
_PUSH = Special(
    ("images", "push"),
    ("upload an image: --name --image-version --os", "上传操作系统镜像"),
    push,
    (Argument("FILE"),),
    tuple(_FACTS.values()),
    ("POST /images", "POST /images/from-upload"),
)
IMAGES: tuple[Entry, ...] = (*_IMAGE_ACTS, _PUSH, *_PROFILE_ACTS)

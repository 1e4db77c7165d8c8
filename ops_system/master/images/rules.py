"""What an image and an install profile may be, and what a task becomes of them: pure."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from ops_system.master.web.route import ListQuery
from ops_system.model.catalogue import Release, find_release
from ops_system.model.errors import Invalid, NotAllowed, TooLarge
from ops_system.model.layouts import DiskLayout
from ops_system.model.packages import NAME
from ops_system.model.tasks import ImageFormat, ImageRef
from ops_system.model.versions import version_key

MAX_IMAGE_BYTES = 2 * 1024**3
MAX_CONTENT_BYTES = 128 * 1024**3
MAX_NOTE_CHARS = 4000
PACKED: frozenset[ImageFormat] = frozenset({"raw.gz", "raw.zst", "tar.gz", "tar.zst"})
_BOOTED: frozenset[ImageFormat] = frozenset({"kernel", "initrd"})
Arch = Literal["amd64", "arm64"]


class Image(msgspec.Struct, frozen=True):
    """An image as the API shows it; name and version never get other bytes.

    `sha256` and `size_bytes` are of the file as it is served, `content_*` of what is in it after decompression.
    """

    name: str
    version: str
    format: ImageFormat
    sha256: str
    size_bytes: int
    content_sha256: str
    content_bytes: int
    created_at: datetime
    created_by: str
    os_type: str = ""
    os_version: str = ""
    arch: Arch = "amd64"
    note: str = ""
    signature: str = ""
    key_id: str = ""
    public_key: str = ""

    def ref(self) -> ImageRef:
        """Return what a task keeps of it."""
        return ImageRef(
            self.name,
            self.version,
            self.sha256,
            self.size_bytes,
            self.content_sha256,
            self.content_bytes,
            self.format,
            self.signature,
            self.key_id,
            self.public_key,
        )


class ImageFacts(msgspec.Struct, frozen=True):
    """What is said of an image at its upload. `sha256`, `content_sha256`: refused when other bytes come."""

    name: str
    version: str
    format: ImageFormat
    os_type: str = ""
    os_version: str = ""
    arch: Arch = "amd64"
    note: str = ""
    sha256: str = ""
    content_sha256: str = ""


class ImageOfUpload(ImageFacts, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An image whose bytes came by `/uploads`. `signature`: the publisher's, as X-Ops-Signature carries it."""

    upload_id: str
    signature: str = ""


class ImageQuery(ListQuery, frozen=True):
    """Filters of the list. `os_type` and `os_version` as in a task."""

    name: str = ""
    os_type: str = ""
    os_version: str = ""
    format: ImageFormat | Literal[""] = ""


class ImageUser(msgspec.Struct, frozen=True):
    """Who needs an image: an unfinished task, or a profile."""

    kind: Literal["task", "profile"]
    id: str


def check_facts(facts: ImageFacts) -> ImageFacts:
    """Return the facts with the release as the catalogue spells it. Raises Invalid with every problem."""
    problems = [f"$.{field}: {NAME_WORDS}" for field in ("name", "version") if not NAME.match(getattr(facts, field))]
    problems += [
        f"$.{field}: must be 64 hexadecimal digits"
        for field in ("sha256", "content_sha256")
        if not _SHA256.fullmatch(getattr(facts, field))
    ]
    if len(facts.note) > MAX_NOTE_CHARS:
        problems.append(f"$.note: at most {MAX_NOTE_CHARS} characters")
    if not facts.os_type and facts.format not in _BOOTED:
        problems.append('$.os_type: which system is in it? "Other" for one that is not in the catalogue')
    refuse(problems)
    if not facts.os_type:
        return facts
    release = find_release(facts.os_type, facts.os_version)
    version = release.os_version or facts.os_version
    return msgspec.structs.replace(facts, os_type=release.os_type, os_version=version)


NAME_WORDS = "1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit"
_SHA256 = re.compile(r"(?:[0-9a-fA-F]{64})?")


def check_size(size_bytes: int) -> None:
    """Raise TooLarge over the limit of trust S20, Invalid for nothing."""
    if size_bytes > MAX_IMAGE_BYTES:
        raise TooLarge(
            f"an image file may have at most {MAX_IMAGE_BYTES} bytes; compress it (zstd -19 --long makes raw.zst)",
            limit_bytes=MAX_IMAGE_BYTES,
        )
    if size_bytes <= 0:
        raise Invalid("the image is empty: send the file as the body", problems=["$: empty"])


def refuse(problems: Sequence[str]) -> None:
    """Raise Invalid when there are problems."""
    if problems:
        raise Invalid("; ".join(problems), problems=list(problems))


# --- the bytes -------------------------------------------------------------------------------------------------------
_MAGIC: dict[ImageFormat, bytes] = {
    "raw.gz": b"\x1f\x8b",
    "tar.gz": b"\x1f\x8b",
    "raw.zst": b"\x28\xb5\x2f\xfd",
    "tar.zst": b"\x28\xb5\x2f\xfd",
}
_ZIP = {b"PK\x03\x04": "a zip"}  # no image shares its bytes with a package: each is freed by its own catalogue
_OTHERS = _ZIP | {
    b"QFI\xfb": "a qcow2 image; qemu-img convert -O raw makes a raw one",
    b"\x1f\x8b": "compressed by gzip; its format is raw.gz or tar.gz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; its format is raw.zst or tar.zst",
    b"\xfd7zXZ\x00": "compressed by xz; use gzip or zstd",
    b"BZh": "compressed by bzip2; use gzip or zstd",
    b"KDMV": "a VMware image; qemu-img convert -O raw makes a raw one",
}
_USTAR_AT, HEAD_BYTES = 257, 512


def check_head(image_format: ImageFormat, head: bytes) -> None:
    """Raise Invalid when the first bytes of the file are not those of its format."""
    if not head.startswith(_MAGIC.get(image_format, b"")):
        raise Invalid(f"the file is no {image_format}: it does not begin like one", problems=["$.format: other bytes"])
    refused = _OTHERS if image_format == "raw" else _ZIP if image_format in _BOOTED else {}
    other = next((words for begin, words in refused.items() if head.startswith(begin)), "")
    if other:
        raise Invalid(f"the file is no {image_format}: it is {other}", problems=["$.format: other bytes"])


def check_content_head(image_format: ImageFormat, head: bytes) -> None:
    """Raise Invalid when what came out of the decompression is not what the format promises."""
    is_tar = head[_USTAR_AT : _USTAR_AT + 5] == b"ustar"
    if image_format in {"tar.gz", "tar.zst"} and not is_tar:
        raise Invalid("there is no tar archive in the file", problems=["$.format: no tar inside"])
    if image_format in {"raw.gz", "raw.zst"}:
        if is_tar:
            raise Invalid("a tar archive is in the file: its format is tar", problems=["$.format: a tar inside"])
        check_head("raw", head)


# --- choosing --------------------------------------------------------------------------------------------------------
def newest(images: Iterable[Image]) -> Image | None:
    """Return the image with the highest version; of equal ones the one that came last."""
    return max(images, key=lambda image: (version_key(image.version), image.created_at), default=None)


def fitting(images: Iterable[Image], release: Release, arch: str) -> list[Image]:
    """Return the images of a system that a machine of this architecture can be given."""
    return [
        image
        for image in images
        if image.format not in _BOOTED
        and image.os_type == release.os_type
        and (image.os_version == release.os_version or not release.os_version)
        and image.arch == arch
    ]


def check_layout_fits(image: Image | None, layout: DiskLayout | None) -> None:
    """Raise Invalid when an image cannot be put on disks that are laid out so."""
    if image is None or layout is None:
        return
    is_tree = image.format in {"tar.gz", "tar.zst"}
    if is_tree != (layout.kind == "plain"):
        words = (
            "a tree of files: it wants a layout of kind plain"
            if is_tree
            else "a whole disk: its layout is of kind image"
        )
        raise Invalid(
            f"disk_layout: {image.name} {image.version} is {words}", problems=["$.disk_layout.kind: other image"]
        )


def check_unused(image: Image, users: Sequence[ImageUser]) -> None:
    """Raise NotAllowed that names who needs an image."""
    if users:
        shown = ", ".join(f"{user.kind} {user.id}" for user in users[:5]) + (" and more" if len(users) > 5 else "")  # noqa: PLR2004 - as many as a line holds
        raise NotAllowed(
            f"image {image.name} {image.version} is used by {shown}",
            reason="in_use",
            users=[f"{user.kind} {user.id}" for user in users[:100]],
        )


# --- lists -----------------------------------------------------------------------------------------------------------
_SORTS = frozenset({"name", "version", "created_at", "size_bytes", "os_type", "format"})


def select(images: Sequence[Image], query: ImageQuery) -> list[Image]:
    """Return the images a query asks for, in its order. Raises Invalid for a field or a system that is unknown."""
    release = find_release(query.os_type, query.os_version) if query.os_type and query.os_version else None
    found = [image for image in images if _is_wanted(image, query, release)]
    field = query.sort.removeprefix("-") or "name"
    if field not in _SORTS:
        known = ", ".join(sorted(_SORTS))
        raise Invalid(f"sort: there is no field {field!r} here; use one of {known}", problems=["sort: unknown"])
    is_backwards = query.sort.startswith("-")
    found.sort(key=lambda image: version_key(image.version), reverse=is_backwards or field != "version")
    if field == "version":
        return found
    return sorted(found, key=lambda image: _sort_key(image, field), reverse=is_backwards)


def _sort_key(image: Image, field: str) -> tuple[int, str]:
    return (image.size_bytes, "") if field == "size_bytes" else (0, str(getattr(image, field)))


def _is_wanted(image: Image, query: ImageQuery, release: Release | None) -> bool:
    text = f"{image.name} {image.version} {image.os_type} {image.os_version} {image.note}".lower()
    is_of_system = not query.os_type or (
        (image.os_type, image.os_version) == (release.os_type, release.os_version)
        if release
        else image.os_type == query.os_type
    )
    return (
        query.q.lower() in text
        and query.name in ("", image.name)
        and query.format in ("", image.format)
        and is_of_system
    )

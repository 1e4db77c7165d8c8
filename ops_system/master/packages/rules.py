"""What the catalogue decides: pure. What an upload may be, what people may write on a version, which versions stay."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Conflict, Invalid, TooLarge
from ops_system.model.packages import Package
from ops_system.model.versions import version_key

MAX_PACKAGE_BYTES = 2 * 1024**3
UPLOAD_LIFE_S = 24 * 3600.0
SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class PackageQuery(ListQuery, frozen=True):
    """Filters of the list; `name`: versions of this package alone."""

    name: str = ""


def check_size(size_bytes: int) -> None:
    """Raise `TooLarge` over the 2 GiB of trust S20, `Invalid` for a size that is none."""
    if size_bytes > MAX_PACKAGE_BYTES:
        raise TooLarge(
            f"a package may have at most {MAX_PACKAGE_BYTES} bytes; this one has {size_bytes} or more",
            limit_bytes=MAX_PACKAGE_BYTES,
        )
    if size_bytes <= 0:
        raise Invalid("the upload is empty: send the zip as the body", problems=["$: empty"])


def check_part(offset: int, received_bytes: int, size_bytes: int) -> None:
    """Raise `Conflict` unless a part begins where the upload ends, `Invalid` when nothing is missing."""
    if received_bytes >= size_bytes:
        raise Conflict("every byte is here: complete the upload", received_bytes=received_bytes)
    if offset != received_bytes:
        raise Conflict(
            f"the next part begins at {received_bytes}, not at {offset}: go on from there",
            received_bytes=received_bytes,
        )


def check_digest(expected: str | None, actual: str) -> None:
    """Raise `Invalid` when the sender said another sha256 than what arrived."""
    if expected is not None and expected.lower() != actual:
        problem = f"sha256: {expected} was announced, {actual} arrived"
        raise Invalid(f"the upload was damaged on its way ({problem}); send it again", problems=[problem])


def check_announced_digest(sha256: str | None, field: str = "sha256") -> None:
    """Raise `Invalid` when an announced sha256 (or a sender's key, of the same form) cannot be one."""
    if sha256 is not None and not SHA256.match(sha256.lower()):
        problem = f"$.{field}: must be 64 hexadecimal digits"
        raise Invalid(problem, problems=[problem])


# --- who uses a version ----------------------------------------------------------------------------------------------
UserKind = Literal["module", "instance", "rollout"]


class PackageUser(msgspec.Struct, frozen=True):
    """Who needs a version: a module that plans it, an instance that has it, a rollout that could return to it.

    `name` is for people: `system/module`, or the instance's name. `node_id` of an instance alone.
    """

    kind: UserKind
    id: str
    name: str
    node_id: str | None = None

    def spell(self) -> str:
        """Return the words of a refusal."""
        return f"instance {self.name} on {self.node_id}" if self.kind == "instance" else self.name


class PackageUsage(msgspec.Struct, frozen=True):
    """Who uses a version, as far as the asker sees. `nodes`: on how many nodes it is."""

    users: list[PackageUser]
    nodes: int
    hidden: int


# --- what people write on it -----------------------------------------------------------------------------------------
MAX_TAGS, MAX_TAG, MAX_NOTE = 16, 40, 4000
_TAG = re.compile(r"[^\s,][^,\r\n\t]*\Z")


class PackagePatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to change; what is left out stays."""

    tags: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    note: str | msgspec.UnsetType = msgspec.UNSET
    is_pinned: bool | msgspec.UnsetType = msgspec.UNSET


def marked(package: Package, patch: PackagePatch, at: datetime, by: str) -> Package:
    """Return the package with the patch laid over it. Raises `Invalid`."""
    given = {name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not msgspec.UNSET}
    if "tags" in given:
        given["tags"] = tuple(dict.fromkeys(tag.strip() for tag in given["tags"]))
    changed = msgspec.structs.replace(package, **given)
    problems = [f"$.tags: {_problem_of_tag(tag)}" for tag in changed.tags if _problem_of_tag(tag)]
    if len(changed.tags) > MAX_TAGS:
        problems.append(f"$.tags: at most {MAX_TAGS}")
    if len(changed.note) > MAX_NOTE:
        problems.append(f"$.note: at most {MAX_NOTE} characters")
    if problems:
        raise Invalid("; ".join(problems), problems=problems)
    return changed if changed == package else msgspec.structs.replace(changed, marked_at=at, marked_by=by)


def _problem_of_tag(tag: str) -> str:
    if len(tag) > MAX_TAG or not _TAG.match(tag):
        return f'"{tag[:MAX_TAG]}": 1 to {MAX_TAG} characters without commas and line ends'
    return ""


# --- which versions stay ---------------------------------------------------------------------------------------------
YOUNG = timedelta(days=1)  # so long nothing goes, whatever is set: it was just uploaded for something
MAX_KEEP = 100_000


class RetentionPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version stays while it is among the newest `keep_versions` of its name, or younger than `keep_days`.

    Null: that rule keeps nothing; both null: nothing goes. `is_daily`: it is carried out once a day by itself.
    """

    keep_versions: int | None = None
    keep_days: int | None = None
    is_daily: bool = False


Why = Literal["pinned", "tagged", "used"]


class AgedVersion(msgspec.Struct, frozen=True):
    """A version that is old by the policy: it goes, unless `kept_by` says why it stays all the same."""

    name: str
    version: str
    size_bytes: int
    created_at: datetime
    kept_by: Why | None = None


def check_policy(policy: RetentionPolicy) -> None:
    """Raise `Invalid` for numbers that cannot be."""
    fields = (("keep_versions", policy.keep_versions), ("keep_days", policy.keep_days))
    bad = [name for name, value in fields if value is not None and not 1 <= value <= MAX_KEEP]
    if bad:
        problems = [f"$.{name}: 1 to {MAX_KEEP}, or null" for name in bad]
        raise Invalid("; ".join(problems), problems=problems)


def old_versions(packages: Sequence[Package], policy: RetentionPolicy, now: datetime) -> list[Package]:
    """Return the versions that the policy itself does not keep, the oldest first."""
    if policy.keep_versions is None and policy.keep_days is None:
        return []
    youngest = now - max(timedelta(days=policy.keep_days or 0), YOUNG)
    newest = _newest(packages, policy.keep_versions or 0)
    old = (one for one in packages if one.created_at < youngest and (one.name, one.version) not in newest)
    return sorted(old, key=lambda one: (one.created_at, one.name, one.version))


def _newest(packages: Sequence[Package], count: int) -> frozenset[tuple[str, str]]:
    by_name: dict[str, list[str]] = {}
    for package in packages:
        by_name.setdefault(package.name, []).append(package.version)
    kept = ((name, version) for name, all_of in by_name.items() for version in _last(all_of, count))
    return frozenset(kept)


def _last(versions: Sequence[str], count: int) -> Sequence[str]:
    return sorted(versions, key=version_key, reverse=True)[:count]


def kept_by(package: Package, *, is_used: bool) -> Why | None:
    """Return why a version that is old stays all the same."""
    if package.is_pinned:
        return "pinned"
    if package.tags:
        return "tagged"
    return "used" if is_used else None


# --- two versions beside each other ----------------------------------------------------------------------------------
class FieldChange(msgspec.Struct, frozen=True):
    """A value of service.json that differs: its path, and both as JSON; null where there is none."""

    path: str
    before: str | None
    after: str | None


class FileFacts(msgspec.Struct, frozen=True):
    """A file in a zip, as its directory tells."""

    size_bytes: int
    crc32: int
    is_executable: bool


class FileChange(msgspec.Struct, frozen=True):
    """A file that differs. `before_bytes` null: it is new; `after_bytes` null: it is gone."""

    path: str
    before_bytes: int | None
    after_bytes: int | None


class PackageDiff(msgspec.Struct, frozen=True):
    """What is different in `to_version`. Files are compared by size, checksum (CRC-32) and the right to run them."""

    name: str
    from_version: str
    to_version: str
    fields: list[FieldChange]
    files: list[FileChange]
    same_files: int
    omitted_files: int


MAX_SHOWN_FILES = 2000


def diff_fields(before: object, after: object) -> list[FieldChange]:
    """Return the leaves that differ of two JSON values."""
    one, other = dict(_leaves("", before)), dict(_leaves("", after))
    paths = [*one, *(path for path in other if path not in one)]
    found = (FieldChange(path, one.get(path), other.get(path)) for path in paths)
    return [change for change in found if change.before != change.after]


def _leaves(path: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [leaf for key in value for leaf in _leaves(f"{path}.{key}" if path else str(key), value[key])]
    return [(path, msgspec.json.encode(value).decode())]


def diff_files(before: Mapping[str, FileFacts], after: Mapping[str, FileFacts]) -> list[FileChange]:
    """Return the files that differ, by path."""
    paths = sorted({*before, *after})
    return [
        FileChange(path, _bytes_of(before.get(path)), _bytes_of(after.get(path)))
        for path in paths
        if before.get(path) != after.get(path)
    ]


def _bytes_of(facts: FileFacts | None) -> int | None:
    return None if facts is None else facts.size_bytes

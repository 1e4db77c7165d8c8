"""What the catalogue decides: pure. What an upload may be."""

import re

from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Conflict, Invalid, TooLarge

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


def check_announced_digest(sha256: str | None) -> None:
    """Raise `Invalid` when an announced sha256 cannot be one."""
    if sha256 is not None and not SHA256.match(sha256.lower()):
        problem = "$.sha256: must be 64 hexadecimal digits"
        raise Invalid(problem, problems=[problem])

"""The order of versions, of packages as of this program. Used by the catalogue, the master's updates and the worker."""

import re

_TOKENS = re.compile(r"[0-9]+|[A-Za-z]+")


def version_key(version: str) -> str:
    """Return text whose byte order is the order of versions: `1.0-rc1` < `1.0` < `1.0.1` < `1.10`.

    Numbers compare as numbers; a word (`rc`, `beta`, `dev`) is earlier than the end, the end earlier than a number.
    """
    tokens = _TOKENS.findall(version)
    return ",".join([*(_token_key(token) for token in tokens), "1"])


def is_newer(version: str, than: str) -> bool:
    """Return whether `version` comes after `than`."""
    return version_key(version) > version_key(than)


def _token_key(token: str) -> str:
    if token.isdigit():
        digits = token.lstrip("0")
        return f"2{len(digits):02d}{digits}"
    return f"0{token.lower()}"

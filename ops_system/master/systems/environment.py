"""What of an environment, or of variables, counts in the end, and where it comes from: pure.

package  <  master  <  system  <  module  <  instance        the nearer to the instance wins
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

Origin = Literal["package", "global", "system", "module", "instance"]


LEVELS: tuple[Origin, ...] = ("global", "system", "module", "instance")
"""Where variables of config files may be set, from far to near."""


class Share(msgspec.Struct, frozen=True):
    """What one level says: plain values, and the names of those that nobody is shown."""

    origin: Origin
    plain: Mapping[str, str] = {}
    hidden: tuple[str, ...] = ()


class LayeredValue(msgspec.Struct, frozen=True):
    """One value that counts. `value` is null for a secret; `hides`: the levels that say something else."""

    name: str
    value: str | None
    is_secret: bool
    origin: Origin
    hides: list[Origin]


def settle_values(shares: Iterable[Share]) -> list[LayeredValue]:
    """Return what counts, by name; `shares` go from the package towards the instance."""
    found: dict[str, LayeredValue] = {}
    for share in shares:
        said: dict[str, str | None] = dict(share.plain) | dict.fromkeys(share.hidden)
        for name, value in said.items():
            before = found.get(name)
            hides: list[Origin] = [] if before is None else [*before.hides, before.origin]
            found[name] = LayeredValue(name, value, value is None, share.origin, hides)
    return [found[name] for name in sorted(found)]


def plain_of(values: Iterable[LayeredValue]) -> dict[str, str]:
    """Return names and values; a secret is empty."""
    return {one.name: one.value or "" for one in values}


def hidden_of(values: Iterable[LayeredValue]) -> tuple[str, ...]:
    """Return the names of the secrets."""
    return tuple(one.name for one in values if one.is_secret)

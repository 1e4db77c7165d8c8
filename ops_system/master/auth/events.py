"""What `auth` tells the features above it."""

import msgspec


class SessionsRevoked(msgspec.Struct, frozen=True):
    """These credentials are void: close every socket they opened. `ids` are session ids and API token ids.

    A principal of kind `user` is meant by its `session_id`, one of kind `token` by its `id`.
    """

    ids: frozenset[str]


class AccountsChanged(msgspec.Struct, frozen=True):
    """What a credential opens may be different now, though the credential stays valid."""


class SetupDone(msgspec.Struct, frozen=True):
    """The first administrator exists: the network listener may open."""

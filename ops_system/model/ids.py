"""Names of things: one NewType per kind of id, and the pure rule that spells a new one."""

from typing import NewType

NodeId = NewType("NodeId", str)
SystemId = NewType("SystemId", str)
ModuleId = NewType("ModuleId", str)
InstanceId = NewType("InstanceId", str)
OperationId = NewType("OperationId", str)
UserId = NewType("UserId", str)
TokenId = NewType("TokenId", str)
SessionId = NewType("SessionId", str)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32 in lower case: no i, l, o, u


def spell_id(prefix: str, entropy: bytes) -> str:
    """Return `prefix_` followed by `entropy` in Crockford base 32 (10 bytes become 16 characters).

    The caller supplies the dice (`secrets.token_bytes(10)`), so that this stays pure.
    """
    number = int.from_bytes(entropy, "big")
    length = (len(entropy) * 8 + 4) // 5
    digits = (_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(length)))
    return f"{prefix}_{''.join(digits)}"

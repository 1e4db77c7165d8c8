"""Half-open ranges of keys as etcd writes them: `range_end` empty is one key, one zero byte is to the end. Pure."""

TO_THE_END = b"\0"
_LAST_BYTE = 0xFF


def prefix_end(prefix: bytes) -> bytes:
    """Return the end of the range of all keys that begin with `prefix`."""
    for at in range(len(prefix) - 1, -1, -1):
        if prefix[at] < _LAST_BYTE:
            return prefix[:at] + bytes((prefix[at] + 1,))
    return TO_THE_END


def holds(key: bytes, range_end: bytes, candidate: bytes) -> bool:
    """Whether `candidate` lies in the range."""
    if not range_end:
        return candidate == key
    return key <= candidate and (range_end == TO_THE_END or candidate < range_end)


def covers(prefix: bytes, key: bytes, range_end: bytes) -> bool:
    """Whether the range can reach nothing but keys that begin with `prefix`."""
    if not key.startswith(prefix):
        return False
    if not range_end:
        return True
    end = prefix_end(prefix)
    return end == TO_THE_END or (range_end != TO_THE_END and range_end <= end)

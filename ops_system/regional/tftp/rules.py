"""What a read request may ask, and which block is sent when (RFC 1350, 2348, 2349, 7440). Pure.

request ──options──> OACK ──ACK 0──> window ──ACK n──> next window … ──ACK last──> done
   └────no options───────────────────^  │ silence: the same again, slower each time, until it has lasted too long
"""

import re

import msgspec

from ops_system.regional.tftp.packet import Request

BLOCK_BYTES = 512
LARGEST_BLOCK_BYTES = 1468  # fills an Ethernet frame; larger ones would travel in fragments, which ROMs do not join
LARGEST_WINDOW = 64
FIRST_WAIT_S, LEAST_WAIT_S, LONGEST_WAIT_S = 1.0, 0.05, 2.0
GIVE_UP_S = 15.0  # of silence; at least five waits
_NUMBERS = 0x10000
_NUMBER = re.compile(r"[0-9]{1,19}")
_ALLOWED_NAME = re.compile(r"[!-\[\]-~ ]+")  # printable ASCII without a backslash


class RefusedNameError(ValueError):
    """A file name that leads out of the boot files or cannot be one."""


class Terms(msgspec.Struct, frozen=True):
    """What holds for one transfer. `said`: the options that are confirmed, empty for a client without any."""

    block_bytes: int = BLOCK_BYTES
    window: int = 1
    wait_s: float | None = None  # what the client asked for; None: found by measuring
    said: dict[str, str] = {}


def file_name(text: str) -> str:
    """Return the path below the boot files a request means. Raises RefusedNameError.

    A slash in front is the top of the boot files: GRUB asks like that.
    """
    if not _ALLOWED_NAME.fullmatch(text):
        raise RefusedNameError("a file name has printable ASCII letters and no backslash")
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if not parts or ".." in parts:
        raise RefusedNameError("a file name leads to a file below the boot files")
    return "/".join(parts)


def negotiate(request: Request, size_bytes: int) -> Terms:
    """Return the terms of a transfer. What is unknown or makes no sense is left out, as RFC 2347 wants it."""
    block_bytes = _number(request, "blksize", 8, 65464)
    window = _number(request, "windowsize", 1, 65535)
    wait_s = _number(request, "timeout", 1, 255)
    said: dict[str, str] = {}
    if block_bytes is not None:
        block_bytes = min(block_bytes, LARGEST_BLOCK_BYTES)
        said["blksize"] = str(block_bytes)
    if window is not None:
        window = min(window, LARGEST_WINDOW)
        said["windowsize"] = str(window)
    if wait_s is not None:
        said["timeout"] = str(wait_s)
    if "tsize" in request.options and request.mode == "octet":
        said["tsize"] = str(size_bytes)
    return Terms(block_bytes or BLOCK_BYTES, window or 1, wait_s, said)


def _number(request: Request, name: str, least: int, largest: int) -> int | None:
    text = request.options.get(name, "")
    return int(text) if _NUMBER.fullmatch(text) and least <= int(text) <= largest else None


def to_netascii(content: bytes) -> bytes:
    """Return text as telnet ends its lines (RFC 764): for the few clients that ask for it."""
    return content.replace(b"\r", b"\r\x00").replace(b"\n", b"\r\n")


class Sender:
    """Knows which blocks are due. Block 0 is the OACK; numbers here never go round, on the wire they do.

    A block goes out again only when nothing was heard for a while, or (windows only) when the client says once that
    one is missing: a repeated ACK by itself never makes a repeated block (Sorcerer's Apprentice, RFC 1123, 4.2.3.1).
    """

    def __init__(self, size_bytes: int, terms: Terms) -> None:
        self.terms = terms
        self.last = size_bytes // terms.block_bytes + 1
        self.acked = -1 if terms.said else 0
        self.silent_s = 0.0
        self._sent = self.acked
        self._was_asked_again = False
        self._is_clean = True  # what is out was sent once, so the time to its ACK can be measured
        self._mean_s: float | None = None
        self._tries = 0

    @property
    def is_done(self) -> bool:
        """Whether everything arrived."""
        return self.acked >= self.last

    @property
    def has_given_up(self) -> bool:
        """Whether the silence has lasted too long."""
        return self.silent_s >= max(GIVE_UP_S, 5 * (self.terms.wait_s or 0.0))

    @property
    def wait_s(self) -> float:
        """How long to wait for the next ACK: as the client asked, or four times what one takes; doubled each try."""
        if self.terms.wait_s is not None:
            return float(self.terms.wait_s)
        first_s = FIRST_WAIT_S if self._mean_s is None else max(4 * self._mean_s, LEAST_WAIT_S)
        return float(min(first_s * 2**self._tries, LONGEST_WAIT_S))

    def due(self) -> range:
        """Return the blocks to send now: the window behind the last ACK, the OACK alone."""
        end = 0 if self.acked < 0 else min(self.acked + self.terms.window, self.last)
        self._is_clean = self._sent <= self.acked
        self._sent = max(self._sent, end)
        return range(self.acked + 1, end + 1)

    def hear_ack(self, number: int, took_s: float) -> range:
        """Take an ACK that came `took_s` after the last send; return the blocks it makes due, often none."""
        ahead = (number - self.acked) % _NUMBERS
        if ahead > self._sent - self.acked:
            return range(0)  # of a block long done, or never sent
        if ahead == 0:
            if self.terms.window == 1 or self._was_asked_again or self.acked < 0:
                return range(0)
            self._was_asked_again = True
            return self.due()
        if self._is_clean:
            self._mean_s = took_s if self._mean_s is None else (7 * self._mean_s + took_s) / 8
        self.acked += ahead
        self._was_asked_again, self._tries, self.silent_s = False, 0, 0.0
        return range(0) if self.is_done else self.due()

    def hear_nothing(self) -> range:
        """After `wait_s` without an ACK: return the blocks to send again, none when it is time to give up."""
        self.silent_s += self.wait_s
        self._tries += 1
        return range(0) if self.has_given_up else self.due()

    def place_of(self, number: int) -> tuple[int, int]:
        """Return offset and largest length of a block, bytes."""
        return (number - 1) * self.terms.block_bytes, self.terms.block_bytes

"""An encrypted backup: a short head in clear, then AES-256-GCM pieces under a key made of the passphrase. Blocking.

    magic · length of the head (4 bytes, big endian) · head (JSON) · pieces of 1 MiB + 16-byte tag

Each piece is sealed with its number and whether it is the last one as nonce (STREAM: Hoang, Reyhanitabar, Rogaway,
Vizár 2015) and with the hash of the head, so pieces can be neither changed, moved, dropped nor cut off unseen. The key
is scrypt's (RFC 7914) over a salt of this file alone.
"""

import hashlib
import hmac
import io
import os
import secrets
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from ops_system.model.errors import Invalid

MAGIC = b"OPSBACKUP1\n"
PIECE_BYTES = 1 << 20
MAX_HEAD_BYTES = 16 * 1024
MIN_PASSPHRASE_CHARS = 10
_TAG_BYTES = 16
_NONCE_BYTES = 12
_SCRYPT_BYTES = 64 << 20
_LENGTH_BYTES = 4


class Shown(msgspec.Struct, frozen=True):
    """What a list shows without the passphrase. `created_at` is ISO 8601."""

    id: str
    created_at: str
    version: str
    has_artefacts: bool


class Head(Shown, frozen=True, kw_only=True):
    """What stands in clear, with how the key is made."""

    salt: bytes
    proof: bytes  # tells a wrong passphrase from damage
    kdf: Literal["scrypt-15-8-1"] = "scrypt-15-8-1"


def is_encrypted(start: bytes) -> bool:
    """Return whether a file that begins so is an encrypted backup."""
    return start.startswith(MAGIC)


def read_head(start: bytes) -> tuple[Head, int]:
    """Return the head and where the pieces begin, from the first `MAX_HEAD_BYTES` of a file. Raises Invalid."""
    at = len(MAGIC) + _LENGTH_BYTES
    length = int.from_bytes(start[len(MAGIC) : at])
    if not is_encrypted(start) or not 0 < length <= MAX_HEAD_BYTES or len(start) < at + length:
        raise refuse("damaged", "the head of the backup is damaged or cut off")
    try:
        return msgspec.json.decode(start[at : at + length], type=Head), at + length
    except msgspec.MsgspecError as error:
        raise refuse("newer", f"its head cannot be read; a newer version may have made it ({error})") from error


def refuse(reason: str, words: str) -> Invalid:
    """Return the error for a backup that is not taken; `reason` is the code the console translates."""
    return Invalid(f"the backup is refused: {words}", reason=reason, problems=[words])


def _derive(passphrase: str, salt: bytes) -> tuple[bytes, bytes]:
    """Return the key and the proof that it is the right one. About 0.1 s and 32 MiB."""
    made = hashlib.scrypt(passphrase.encode(), salt=salt, n=1 << 15, r=8, p=1, maxmem=_SCRYPT_BYTES, dklen=64)
    return made[:32], hashlib.sha256(made[32:]).digest()[:16]


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(_NONCE_BYTES - 1) + bytes([is_last])


class EncryptingFile(io.RawIOBase):
    """Takes what a zip writer writes and seals it into `file`; `finish` seals the rest."""

    def __init__(self, file: BinaryIO, passphrase: str, shown: Shown) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        salt = secrets.token_bytes(16)
        key, proof = _derive(passphrase, salt)
        head = msgspec.json.encode(Head(**msgspec.structs.asdict(shown), salt=salt, proof=proof))
        self._file = file
        self._cipher = AESGCM(key)
        self._bound = hashlib.sha256(head).digest()
        self._rest = bytearray()
        self._number = 0
        file.write(MAGIC + len(head).to_bytes(_LENGTH_BYTES) + head)

    def writable(self) -> bool:
        """It is written to, never read or sought in."""
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]  # a zip writer gives these
        """Seal each whole piece but the last one so far."""
        self._rest += data
        while len(self._rest) > PIECE_BYTES:
            self._seal(bytes(self._rest[:PIECE_BYTES]), is_last=False)
            del self._rest[:PIECE_BYTES]
        return len(data)

    def finish(self) -> None:
        """Seal the last piece."""
        self._seal(bytes(self._rest), is_last=True)
        self._rest.clear()

    def _seal(self, piece: bytes, *, is_last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, is_last=is_last), piece, self._bound))
        self._number += 1


class DecryptingFile(io.RawIOBase):
    """The plain bytes of an encrypted backup, readable from any place. Raises Invalid where they were changed."""

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if not passphrase:
            raise refuse("needs_passphrase", "it is encrypted: give its passphrase")
        file_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        start = file.read(len(MAGIC) + _LENGTH_BYTES + MAX_HEAD_BYTES)
        head, self._begin = read_head(start)
        key, proof = _derive(passphrase, head.salt)
        if not hmac.compare_digest(proof, head.proof):
            raise refuse("wrong_passphrase", "the passphrase is wrong")
        self._file = file
        self._cipher = AESGCM(key)
        self._bound = hashlib.sha256(start[len(MAGIC) + _LENGTH_BYTES : self._begin]).digest()
        sealed_bytes = file_bytes - self._begin
        self._count = max(1, -(-sealed_bytes // (PIECE_BYTES + _TAG_BYTES)))
        self._size = sealed_bytes - self._count * _TAG_BYTES
        self._at = 0
        self._piece = (-1, b"")
        self._open_piece(self._count - 1)  # the last one tells whether anything is missing

    def readable(self) -> bool:
        """It is read."""
        return True

    def seekable(self) -> bool:
        """From any place."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]  # what RawIOBase.read gives
        """Fill `buffer` as far as the present piece goes."""
        if self._at >= self._size:
            return 0
        number, skip = divmod(self._at, PIECE_BYTES)
        part = self._open_piece(number)[skip : skip + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _open_piece(self, number: int) -> bytes:
        from cryptography.exceptions import InvalidTag

        if self._piece[0] != number:
            self._file.seek(self._begin + number * (PIECE_BYTES + _TAG_BYTES))
            sealed = self._file.read(PIECE_BYTES + _TAG_BYTES)
            try:
                plain = self._cipher.decrypt(_nonce(number, is_last=number == self._count - 1), sealed, self._bound)
            except (InvalidTag, ValueError) as error:
                raise refuse("damaged", "it is damaged or cut off") from error
            self._piece = (number, plain)
        return self._piece[1]


def open_plain(path: Path, passphrase: str) -> BinaryIO:
    """Open a backup for reading, encrypted or not; the caller closes it.

    Raises Invalid for a missing or wrong passphrase and for damage, OSError.
    """
    file = path.open("rb")
    try:
        if not is_encrypted(file.read(len(MAGIC))):
            return file
        return io.BufferedReader(_Owning(file, passphrase), PIECE_BYTES)
    except BaseException:
        file.close()
        raise


class _Owning(DecryptingFile):
    """Closes the file below with itself."""

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        super().__init__(file, passphrase)
        self._below = file

    def close(self) -> None:
        """Close both."""
        self._below.close()
        super().close()

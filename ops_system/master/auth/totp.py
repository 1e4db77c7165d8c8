"""One-time passwords by RFC 6238 (six digits, SHA-1, 30 s) and recovery codes. Pure: clock and dice are arguments."""

import base64
import hmac

import pyotp

from ops_system.master.auth.rules import hash_secret, plain_code

STEP_S = 30
WINDOW = 1  # steps around now: a phone's clock may be half a minute off
SECRET_BYTES = 20  # RFC 4226, section 4: 160 bits
RECOVERY_CODES = 10
RECOVERY_BYTES = 10
ISSUER = "ops-system"


def spell_secret(entropy: bytes) -> str:
    """Return the secret as base 32, as people type it into an authenticator."""
    return base64.b32encode(entropy).decode()


def spell_uri(secret: str, username: str) -> str:
    """Return the `otpauth://` URI that an authenticator reads from a QR code."""
    return str(pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=ISSUER))


def find_step(secret: str, code: str, now_s: float, last_step: int) -> int | None:
    """Return the time step that `code` belongs to, or None. A step up to `last_step` was used and is good no more."""
    totp, current = pyotp.TOTP(secret), int(now_s) // STEP_S
    given = plain_code(code).encode()
    found = None
    for step in range(max(0, current - WINDOW), current + WINDOW + 1):
        is_same = hmac.compare_digest(totp.generate_otp(step).encode(), given)
        if is_same and step > last_step:
            found = step
    return found


def spell_recovery_code(entropy: bytes) -> str:
    """Return 80 random bits as `abcd-efgh-ijkl-mnop`."""
    text = base64.b32encode(entropy).decode().lower()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def hash_recovery_code(code: str) -> bytes:
    """Return what is stored of a recovery code, however it was typed."""
    return hash_secret(plain_code(code))

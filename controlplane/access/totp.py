"""Codes of an authenticator app: time-based one-time passwords (RFC 6238), six digits, thirty seconds. Pure."""

import base64
import secrets
from datetime import datetime

import segno
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP_S = 30
DIGITS = 6
TOLERANCE = 1
"""Steps before and after the present one whose code counts: a phone's clock may be half a minute off."""

ISSUER = "Brownout"


def new_key() -> bytes:
    """160 bits, as RFC 4226 §4 recommends."""
    return secrets.token_bytes(20)


def matching_step(key: bytes, code: str, now: datetime) -> int | None:
    """The time step that `code` belongs to, or None when it is none of those that count now."""
    present = int(now.timestamp()) // STEP_S
    steps = (present + shift for shift in range(-TOLERANCE, TOLERANCE + 1))
    found = [step for step in steps if secrets.compare_digest(code_at(key, step).encode(), code.encode())]
    return found[-1] if found else None


def code_at(key: bytes, step: int) -> str:
    return _generator(key).generate(step * STEP_S).decode()


def key_text(key: bytes) -> str:
    """As people type it: base32 in groups of four."""
    text = base64.b32encode(key).decode().rstrip("=")
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def uri(key: bytes, account: str) -> str:
    """`otpauth://totp/…`, as authenticator apps read it."""
    return _generator(key).get_provisioning_uri(account, ISSUER)


def qr_image(text: str) -> str:
    """A QR code as a `data:` URI of an SVG, dark on white whatever the page's colours are."""
    return segno.make(text, error="m").svg_data_uri(scale=4, border=3, dark="#000", light="#fff")


def _generator(key: bytes) -> TOTP:
    return TOTP(key, DIGITS, SHA1(), STEP_S)  # noqa: S303 - HMAC-SHA-1 is what RFC 6238 and every app mean

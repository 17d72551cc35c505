"""Secrets that are shown once: recognisable by prefix, checked without the database, kept only as a digest.

`bo_api_<43 base62 digits of 256 random bits><6 digits of CRC-32>`, and `bo_sdk_` likewise. The checksum lets secret
scanners tell ours from look-alikes; it protects nothing. With 256 random bits a plain SHA-256 is enough: there is
nothing to guess, so nothing to slow down.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Callable
from typing import Literal

import msgspec

Prefix = Literal["bo_api_", "bo_sdk_", "bo_one_", "bo_ses_"]
"""API token, SDK key (its secret part), one-time link, session or device cookie."""

_DIGITS = string.digits + string.ascii_letters
_BODY = 43
_CHECK = 6
PATTERN = re.compile(rf"bo_(?:api|sdk|one|ses)_[0-9A-Za-z]{{{_BODY + _CHECK}}}")
"""Finds our secrets in any text; logs and errors pass through `redact`."""

Entropy = Callable[[int], bytes]


class Secret(msgspec.Struct, frozen=True):
    """`text` goes to its holder and nowhere else; `digest` is stored; `hint` may be shown."""

    text: str
    digest: str
    hint: str

    def __repr__(self) -> str:
        return f"Secret({self.hint})"


def mint(prefix: Prefix, entropy: Entropy = secrets.token_bytes) -> Secret:
    body = _base62(int.from_bytes(entropy(32)), _BODY)
    text = prefix + body + _checksum(prefix + body)
    return Secret(text, digest(text), hint(text))


def digest(text: str) -> str:
    """64 hex digits: what the database knows of a secret."""
    return hashlib.sha256(text.encode()).hexdigest()


def hint(text: str) -> str:
    """Enough to tell two secrets apart in a list: the prefix and four digits."""
    return text[:11] + "…"


def well_formed(text: str, prefix: Prefix) -> bool:
    """False for what cannot be a secret of that kind: answered without asking the database."""
    return (
        text.startswith(prefix)
        and PATTERN.fullmatch(text) is not None
        and hmac.compare_digest(text[-_CHECK:], _checksum(text[:-_CHECK]))
    )


def redact(text: str) -> str:
    return PATTERN.sub(lambda match: match[0][:7] + "[redacted]", text)


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECK)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))

"""NATS nkeys and the JWTs they sign (nats-io/nkeys, nats-io/jwt version 2), with `cryptography` alone."""

import base64
import binascii
import hashlib
import os
import struct
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from brownout.wire import UNREADABLE

KeyKind = Literal["account", "user", "server"]

_PREFIX: Mapping[KeyKind, int] = {"account": 0, "user": 20 << 3, "server": 13 << 3}
_KINDS: Mapping[int, KeyKind] = {prefix: kind for kind, prefix in _PREFIX.items()}
_SEED = 18 << 3
_HEADER = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"ed25519-nkey"}').rstrip(b"=")


class InvalidTokenError(ValueError):
    """Not a NATS JWT, or not signed by the key it names."""


class KeyPair:
    """An nkey. `public` is its printable name (`A…`, `U…`, `N…`); `seed` (`SA…`) is the secret."""

    def __init__(self, kind: KeyKind, raw: bytes | None = None) -> None:
        self._kind: KeyKind = kind
        self._raw = raw or os.urandom(32)
        self._key = Ed25519PrivateKey.from_private_bytes(self._raw)
        self.public = _encode(bytes([_PREFIX[kind]]) + self._key.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: str) -> "KeyPair":
        """Raises ValueError, without repeating the seed."""
        body = _decode(seed.strip())
        prefix = (body[0] & 7) << 5 | body[1] >> 3
        kind = _KINDS.get(prefix)
        if body[0] & 0xF8 != _SEED or kind is None or len(body) != 34:
            raise ValueError("not an nkey seed")
        return cls(kind, body[2:])

    @property
    def seed(self) -> str:
        prefix = _PREFIX[self._kind]
        return _encode(bytes([_SEED | prefix >> 5, (prefix & 31) << 3]) + self._raw)

    def issue(
        self, subject: str, nats: Mapping[str, Any], *, issued_at: int, name: str = "", audience: str = ""
    ) -> str:
        """A signed JWT about `subject`. `issued_at` is Unix seconds."""
        claims: dict[str, Any] = {
            "iat": issued_at,
            "iss": self.public,
            "sub": subject,
            "nats": {**nats, "version": 2},
        }
        if name:
            claims["name"] = name
        if audience:
            claims["aud"] = audience
        fingerprint = hashlib.new("sha512_256", msgspec.json.encode(claims)).digest()
        claims["jti"] = base64.b32encode(fingerprint).rstrip(b"=").decode()
        signed = _HEADER + b"." + _b64(msgspec.json.encode(claims))
        return (signed + b"." + _b64(self._key.sign(signed))).decode()


def read_jwt(token: str | bytes) -> dict[str, Any]:
    """The claims of a JWT whose signature is good for the issuer it names; the caller judges the issuer.

    Raises:
        InvalidTokenError: anything else.
    """
    text = token.encode() if isinstance(token, str) else token
    try:
        head, payload, signature = text.split(b".")
        claims: dict[str, Any] = msgspec.json.decode(_unb64(payload), type=dict[str, Any])
        public = _decode(claims["iss"])[1:]
        Ed25519PublicKey.from_public_bytes(public).verify(_unb64(signature), head + b"." + payload)
    except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature, *UNREADABLE) as error:
        raise InvalidTokenError("not a valid NATS JWT") from error
    return claims


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw + struct.pack("<H", _crc16(raw))).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error as error:
        raise ValueError("not an nkey") from error
    body, check = raw[:-2], raw[-2:]
    if len(body) < 33 or check != struct.pack("<H", _crc16(body)):
        raise ValueError("not an nkey")
    return body


def _crc16(data: bytes) -> int:
    """CRC-16/XMODEM, which nkeys end with: polynomial 0x1021, starting at 0."""
    return binascii.crc_hqx(data, 0)


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _unb64(data: bytes) -> bytes:
    return base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))

"""Ed25519 signatures over what travels, the chain of keys behind them, and SDK keys."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


SignedKind = Literal["log", "snapshot", "heartbeat", "keys", "record", "emergency"]
"""The signing context: a signature made for one kind of message is worthless for another."""


def _signed(kind: SignedKind, environment: str, payload: bytes) -> bytes:
    return b"brownout/" + kind.encode() + b"/" + environment.encode() + b"\0" + payload


def sign(key: "Ed25519PrivateKey", kid: str, kind: SignedKind, environment: str, payload: bytes) -> str:
    """The `Bo-Sig` header: `kid.base64(signature)`."""
    return kid + "." + base64.b64encode(key.sign(_signed(kind, environment, payload))).decode()


class UnknownKeyError(Exception):
    """The signature names a key that the verifier has not learned (yet)."""


_GENUINE_KEPT = 64


_genuine: set[bytes] = set()
"""Digests of (public key, signed bytes, signature) that verified lately. The same message comes again when it is
broadcast without JetStream, filled by Direct Get, or followed by several clients of a process."""


class Verifier:
    """Holds an environment's trusted public keys, `{kid: 32 raw bytes}`; learns more by `trust`."""

    def __init__(self, environment: str, keys: Mapping[str, bytes]) -> None:
        self.environment = environment
        self._keys: dict[str, Any] = {}
        self._raw: dict[str, bytes] = {}
        for kid, raw in keys.items():
            self.trust(kid, raw)

    def trust(self, kid: str, raw: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        self._keys[kid] = Ed25519PublicKey.from_public_bytes(raw)
        self._raw[kid] = raw

    def knows(self, kid: str) -> bool:
        return kid in self._keys

    def verify(self, kind: SignedKind, payload: bytes, signature: str | None) -> bool:
        """True when the signature is good, False when it is not.

        Raises:
            UnknownKeyError: the named key is unknown; fetch the key chain and ask again.
        """
        from cryptography.exceptions import InvalidSignature

        if not signature:
            return False
        kid, _, encoded = signature.partition(".")
        key = self._keys.get(kid)
        if key is None:
            raise UnknownKeyError(kid)
        signed = _signed(kind, self.environment, payload)
        digest = hashlib.sha256(self._raw[kid] + hashlib.sha256(signed).digest() + encoded.encode()).digest()
        if digest in _genuine:
            return True
        try:
            key.verify(base64.b64decode(encoded, validate=True), signed)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        if len(_genuine) >= _GENUINE_KEPT:
            _genuine.clear()
        _genuine.add(digest)
        return True


class KeyLink(msgspec.Struct, frozen=True):
    """One signing key, vouched for by an earlier one: `sig` signs `kid ‖ 0 ‖ pub` in the `keys` context."""

    kid: str
    pub: str
    by: str = ""
    sig: str = ""


class KeyChain(msgspec.Struct, frozen=True):
    """Every signing key an environment has had, oldest first; kept at `bow.<env>.snap.k`."""

    v: int
    env: str
    links: tuple[KeyLink, ...]


def public_key(text: str) -> bytes:
    """The raw bytes of a public key as links and SDK keys write it. Raises ValueError."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def link_payload(kid: str, pub: str) -> bytes:
    return kid.encode() + b"\0" + pub.encode()


def learn(verifier: Verifier, chain_: KeyChain) -> int:
    """Trusts every key that a trusted key vouches for, directly or through others; returns how many."""
    learned = 0
    progress = True
    while progress:
        progress = False
        for link in chain_.links:
            if verifier.knows(link.kid) or not verifier.knows(link.by):
                continue
            if verifier.verify("keys", link_payload(link.kid, link.pub), link.sig):
                verifier.trust(link.kid, public_key(link.pub))
                learned += 1
                progress = True
    return learned


def fingerprint(secret: str) -> str:
    """The first 16 hex digits of the SHA-256 of an SDK key's secret part."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


class SdkKey(msgspec.Struct, frozen=True):
    """`bo_sdk_<secret>.<kid>.<public key>`: the secret opens NATS, the public key is what the SDK pins."""

    text: str
    secret: str
    kid: str
    public: bytes

    def __repr__(self) -> str:
        return f"SdkKey(kid={self.kid!r})"

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name this key in subjects and reveal nothing of it."""
        return fingerprint(self.secret)

    @classmethod
    def parse(cls, text: str) -> "SdkKey":
        """Raises ValueError, without repeating the key, when `text` is not an SDK key."""
        secret, _, rest = text.partition(".")
        kid, _, pub = rest.partition(".")
        try:
            raw = public_key(pub)
        except (binascii.Error, ValueError):
            raw = b""
        if not secret.startswith("bo_sdk_") or not kid or len(raw) != 32:
            raise ValueError("not an SDK key: expected bo_sdk_<secret>.<kid>.<public key>")
        return cls(text, secret, kid, raw)

    @staticmethod
    def format(secret: str, kid: str, public: bytes) -> str:
        return f"{secret}.{kid}." + base64.urlsafe_b64encode(public).rstrip(b"=").decode()

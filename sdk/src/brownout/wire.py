"""What travels over NATS: subjects, signed envelopes, the hash chain (docs/adr/0003-transport.md).

Signed bytes are stored bytes are published bytes: nothing is ever encoded again on the way.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE_HEADER = "Bo-Sig"
MAX_ENVELOPE_BYTES = 512 * 1024
"""A larger commit is published as `reset` right after its snapshot."""

SignedKind = Literal["log", "snapshot", "heartbeat", "keys"]
"""The signing context: a signature made for one kind of message is worthless for another."""


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step of a commit. `put` carries the spec's exact JSON; `reset` says: fetch the snapshot."""

    op: Literal["put", "del", "reset"]
    kind: str = ""
    key: str = ""
    spec: msgspec.Raw | None = None


class Envelope(msgspec.Struct, frozen=True):
    """One revision of one environment as it is signed, stored and published. `ts` is Unix ms."""

    v: int
    env: str
    ep: int
    rev: int
    pch: str
    ts: int
    ops: tuple[Operation, ...]


class Manifest(msgspec.Struct, frozen=True):
    """Announces a complete snapshot: `n` chunks named by `sid`, the first at stream sequence `seq`."""

    v: int
    env: str
    ep: int
    rev: int
    chain: str
    n: int
    sid: str
    seq: int
    sha: str


class Heartbeat(msgspec.Struct, frozen=True):
    """The head as the control plane sees it."""

    v: int
    env: str
    ep: int
    rev: int
    ts: int
    interval_s: float = 5.0


class Presence(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an instance says of itself on `bot.<env>.<instance>.p`. `age_s` is the age of what it serves."""

    instance: str
    service: str
    sdk_version: str
    ep: int
    rev: int
    state: str
    age_s: float
    ts: int
    applied_at: int = 0
    """Unix ms at which `rev` was applied."""
    closing: bool = False


class Subjects:
    """The subjects and streams of one environment."""

    def __init__(self, environment: str) -> None:
        self.log_write = f"bow.{environment}.log"
        self.manifest = f"bow.{environment}.snap.m"
        self.keys = f"bow.{environment}.snap.k"
        self.chunks = f"bow.{environment}.snap.c.>"
        self.snapshot_all = f"bow.{environment}.snap.>"
        self.log = f"bo.{environment}.log"
        self.heartbeat = f"bo.{environment}.hb"
        self.presence_all = f"bot.{environment}.*.p"
        self.telemetry_all = f"bot.{environment}.*.m"
        self.log_stream = f"BO_LOG_{environment}"
        self.snapshot_stream = f"BO_SNAP_{environment}"
        self._environment = environment

    def chunk(self, sid: str, index: int) -> str:
        return f"bow.{self._environment}.snap.c.{sid}.{index}"

    def presence(self, instance: str) -> str:
        return f"bot.{self._environment}.{instance}.p"

    def telemetry(self, instance: str) -> str:
        return f"bot.{self._environment}.{instance}.m"


def chain(previous: str, payload: bytes) -> str:
    """The chain value after `payload`: 32 hex digits of sha256(previous ‖ payload)."""
    return hashlib.sha256(previous.encode() + payload).hexdigest()[:32]


def _signed(kind: SignedKind, environment: str, payload: bytes) -> bytes:
    return b"brownout/" + kind.encode() + b"/" + environment.encode() + b"\0" + payload


def sign(key: "Ed25519PrivateKey", kid: str, kind: SignedKind, environment: str, payload: bytes) -> str:
    """The `Bo-Sig` header: `kid.base64(signature)`."""
    return kid + "." + base64.b64encode(key.sign(_signed(kind, environment, payload))).decode()


class UnknownKeyError(Exception):
    """The signature names a key that the verifier has not learned (yet)."""


class Verifier:
    """Holds an environment's trusted public keys, `{kid: 32 raw bytes}`; learns more by `trust`."""

    def __init__(self, environment: str, keys: Mapping[str, bytes]) -> None:
        self.environment = environment
        self._keys: dict[str, Any] = {}
        for kid, raw in keys.items():
            self.trust(kid, raw)

    def trust(self, kid: str, raw: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        self._keys[kid] = Ed25519PublicKey.from_public_bytes(raw)

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
        try:
            key.verify(base64.b64decode(encoded, validate=True), _signed(kind, self.environment, payload))
        except (InvalidSignature, binascii.Error, ValueError):
            return False
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
                verifier.trust(link.kid, base64.urlsafe_b64decode(link.pub + "=" * (-len(link.pub) % 4)))
                learned += 1
                progress = True
    return learned


class SdkKey(msgspec.Struct, frozen=True):
    """`bo_sdk_<secret>.<kid>.<public key>`: the secret opens NATS, the public key is what the SDK pins."""

    text: str
    secret: str
    kid: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "SdkKey":
        """Raises ValueError, without repeating the key, when `text` is not an SDK key."""
        secret, _, rest = text.partition(".")
        kid, _, pub = rest.partition(".")
        try:
            raw = base64.urlsafe_b64decode(pub + "=" * (-len(pub) % 4))
        except (binascii.Error, ValueError):
            raw = b""
        if not secret.startswith("bo_sdk_") or not kid or len(raw) != 32:
            raise ValueError("not an SDK key: expected bo_sdk_<secret>.<kid>.<public key>")
        return cls(text, secret, kid, raw)

    @staticmethod
    def format(secret: str, kid: str, public: bytes) -> str:
        return f"{secret}.{kid}." + base64.urlsafe_b64encode(public).rstrip(b"=").decode()

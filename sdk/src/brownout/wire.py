"""What travels over NATS: subjects, signed envelopes, the hash chain (docs/adr/0003-transport.md).

Signed bytes are stored bytes are published bytes: nothing is ever encoded again on the way.
"""

import base64
import binascii
import hashlib
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE_HEADER = "Bo-Sig"
MAX_ENVELOPE_BYTES = 512 * 1024
"""A larger commit is published as `reset` right after its snapshot."""

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding bytes of a stranger's can raise: msgspec tells broken UTF-8 and deep nesting by errors of their own."""

SignedKind = Literal["log", "snapshot", "heartbeat", "keys", "record"]
"""The signing context: a signature made for one kind of message is worthless for another."""


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step of a commit. `put` carries the spec's exact JSON; `reset` says: fetch the snapshot."""

    op: Literal["put", "del", "reset"]
    kind: str = ""
    key: str = ""
    spec: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """UNSET, not None: msgspec cannot decode a union of Raw and None."""


class Envelope(msgspec.Struct, frozen=True):
    """One revision of one environment as it is signed, stored and published. `ts` is Unix ms."""

    v: int
    env: str
    ep: int
    rev: int
    pch: str
    ts: int
    ops: tuple[Operation, ...]

    @property
    def resets(self) -> bool:
        """Whether this revision can only be reached through a snapshot."""
        return any(step.op == "reset" for step in self.ops)


class Manifest(msgspec.Struct, frozen=True):
    """Announces a complete snapshot: `n` chunks named by `sid`, the first at stream sequence `seq`.

    `sha` is `snapshot_digest` of the chunks: verifying it before unpacking is what makes the chunks as
    trustworthy as this signed message. `seq` is 0 in a copy on disk.
    """

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
    """What an instance says of itself on `bot.<env>.<key>.<instance>.p`. `age_s` is the age of what it serves."""

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
    proof: bytes = b""
    """Only after a heartbeat showed an older head than `rev`: the signed bytes (the envelope of `rev`, or the manifest
    that led to it) which prove that the control plane once was there. Without it a report of being ahead is ignored."""
    proof_kind: Literal["", "log", "snapshot"] = ""
    proof_sig: str = ""


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
        self.presence_all = f"bot.{environment}.*.*.p"
        self.telemetry_all = f"bot.{environment}.*.*.m"
        self.log_stream = f"BO_LOG_{environment}"
        self.snapshot_stream = f"BO_SNAP_{environment}"
        self._environment = environment

    def chunk(self, sid: str, index: int) -> str:
        return f"bow.{self._environment}.snap.c.{sid}.{index}"

    def chunks_of(self, sid: str) -> str:
        """The wildcard for the chunks of one snapshot."""
        return f"bow.{self._environment}.snap.c.{sid}.*"

    def inbox(self, instance: str) -> str:
        """The inbox prefix an instance connects with: the environment is part of it, so that no key of another one can
        listen to its answers."""
        return f"_INBOX_{self._environment}.{instance}"

    def presence(self, key: str, instance: str) -> str:
        """`key` is the fingerprint of the SDK key that the instance holds: the server vouches for it, not the sender."""
        return f"bot.{self._environment}.{key}.{instance}.p"

    def telemetry(self, key: str, instance: str) -> str:
        return f"bot.{self._environment}.{key}.{instance}.m"

    def acknowledgement(self, key: str, instance: str) -> str:
        """Where an instance hears that its last telemetry is written down. The control plane makes this of the subject
        that the server let it speak on: it never publishes where a message tells it to."""
        return f"bo.{self._environment}.ack.{key}.{instance}"


def chain(previous: str, payload: bytes) -> str:
    """The chain value after `payload`: 32 hex digits of sha256(previous ‖ payload)."""
    return hashlib.sha256(previous.encode() + payload).hexdigest()[:32]


SNAPSHOT_CHUNK_BYTES = 64 * 1024
_UNPACK_STEP_BYTES = 256 * 1024


def pack_snapshot(resources: Iterable[tuple[str, str, bytes]]) -> tuple[bytes, ...]:
    """The chunks of a snapshot of `(kind, key, canonical spec)`: one zlib stream cut into pieces, at least one.

    The stream holds a line `kind TAB key TAB spec` per resource. Canonical JSON has neither tabs nor line breaks, so
    reading it back needs no parser and leaves every spec undecoded until somebody asks for it.

    Raises:
        ValueError: a spec is not canonical JSON (it has a line break).
    """
    squeeze = zlib.compressobj(level=4)
    pieces: list[bytes] = []
    for kind, key, spec in resources:
        if b"\n" in spec:
            raise ValueError(f"the spec of {kind} {key} is not canonical JSON")
        pieces.append(squeeze.compress(b"%b\t%b\t%b\n" % (kind.encode(), key.encode(), spec)))
    pieces.append(squeeze.flush())
    packed = b"".join(pieces)
    return tuple(packed[i : i + SNAPSHOT_CHUNK_BYTES] for i in range(0, len(packed), SNAPSHOT_CHUNK_BYTES))


def snapshot_digest(chunks: Iterable[bytes]) -> str:
    """64 hex digits of the sha256 over all chunks in order: `Manifest.sha`."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def unpack_snapshot(chunks: Iterable[bytes]) -> Iterator[list[tuple[str, str, bytes]]]:
    """Yields batches of `(kind, key, spec)`, each from at most 256 KiB, so that a caller can let other threads run.

    Verify `snapshot_digest` first: this trusts its input to be what `pack_snapshot` made.

    Raises:
        ValueError: the chunks are not a whole snapshot.
    """
    inflate = zlib.decompressobj()
    rest = b""
    try:
        for chunk in chunks:
            todo = chunk
            while todo:
                lines = (rest + inflate.decompress(todo, _UNPACK_STEP_BYTES)).split(b"\n")
                todo = inflate.unconsumed_tail
                rest = lines.pop()
                yield [_resource(line) for line in lines]
    except zlib.error as error:
        raise ValueError(f"not a snapshot: {error}") from error
    if rest or not inflate.eof:
        raise ValueError("not a whole snapshot")


def _resource(line: bytes) -> tuple[str, str, bytes]:
    kind, key, spec = line.split(b"\t", 2)
    return sys.intern(kind.decode()), key.decode(), spec


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

"""A control plane's history without a control plane: what it would sign and publish for an environment."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brownout import wire
from brownout._sync.clock import wall_ms
from brownout.wire.bundle import Bundle, Signed

KID = "k1"


def flag(*, on: bool) -> bytes:
    """A boolean flag that serves whether it is `on`."""
    spec = {
        "type": "boolean",
        "enabled": True,
        "variants": {"on": True, "off": False},
        "off_variant": "off",
        "rules": [],
        "default": "on" if on else "off",
    }
    return msgspec.json.encode(spec, order="sorted")


def put(key: str, spec: bytes, kind: str = "flag") -> wire.Operation:
    return wire.Operation("put", kind, key, msgspec.Raw(spec))


def delete(key: str, kind: str = "flag") -> wire.Operation:
    return wire.Operation("del", kind, key)


class History:
    """Signs as the control plane does. `log[i]` is the envelope of revision i + 1 of the first epoch."""

    def __init__(self, environment: str, seed: bytes = b"1", now_ms: Callable[[], int] = wall_ms) -> None:
        self.now_ms = now_ms
        """The control plane's clock; two heartbeats never have one instant."""
        self.environment = environment
        self.private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest())
        self.kid = KID
        self.epoch = 1
        self.revision = 0
        self.chain = ""
        self.resources: dict[tuple[str, str], bytes] = {}
        self.log: list[Signed] = []
        self._beaten = 0

    @property
    def public(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def sdk_key(self) -> str:
        return wire.SdkKey.format("bo_sdk_" + "s" * 32, KID, self.public)

    def verifier(self) -> wire.Verifier:
        return wire.Verifier(self.environment, {KID: self.public})

    def sign(self, kind: wire.SignedKind, payload: bytes) -> Signed:
        return Signed(payload, wire.sign(self.private, self.kid, kind, self.environment, payload))

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)

    def commit(self, *operations: wire.Operation) -> Signed:
        self.revision += 1
        envelope = wire.Envelope(1, self.environment, self.epoch, self.revision, self.chain, self.now_ms(), operations)
        payload = msgspec.json.encode(envelope)
        self.chain = wire.chain(self.chain, payload)
        for operation in operations:
            if operation.op == "put":
                assert isinstance(operation.spec, msgspec.Raw)
                self.resources[operation.kind, operation.key] = bytes(operation.spec)
            elif operation.op == "del":
                self.resources.pop((operation.kind, operation.key), None)
        signed = self.sign("log", payload)
        self.log.append(signed)
        return signed

    def set_flag(self, key: str, *, on: bool) -> Signed:
        return self.commit(put(key, flag(on=on)))

    def fence(self, revision: int) -> Signed:
        """A new epoch that starts at `revision`, as after Postgres was restored."""
        self.epoch += 1
        self.revision = revision - 1
        return self.commit(wire.Operation("reset"))

    def heartbeat(self, *, interval_s: float = 5.0, ts: int | None = None, fleet: int = 0) -> Signed:
        self._beaten = ts or max(self.now_ms(), self._beaten + 1)
        beat = wire.Heartbeat(1, self.environment, self.epoch, self.revision, self._beaten, interval_s, fleet)
        return self.sign("heartbeat", msgspec.json.encode(beat))

    def snapshot(self, *, sequence: int = 1) -> tuple[Signed, tuple[bytes, ...]]:
        chunks = wire.pack_snapshot((kind, key, spec) for (kind, key), spec in sorted(self.resources.items()))
        manifest = wire.Manifest(
            1,
            self.environment,
            self.epoch,
            self.revision,
            self.chain,
            len(chunks),
            f"{self.epoch}-{self.revision}",
            sequence,
            wire.snapshot_digest(chunks),
        )
        return self.sign("snapshot", msgspec.json.encode(manifest)), chunks

    def bundle(self, tail: Iterable[Signed] = (), head: Signed | None = None) -> Bundle:
        manifest, chunks = self.snapshot()
        return Bundle(environment=self.environment, manifest=manifest, chunks=chunks, tail=tuple(tail), head=head)

    def rotate(self, kid: str = "k2") -> bytes:
        """A new signing key, vouched for by the old one; returns the key chain."""
        old = self.private
        links = [wire.KeyLink(self.kid, _text(old))]
        self.private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(kid.encode()).digest())
        pub = _text(self.private)
        voucher = wire.sign(old, self.kid, "keys", self.environment, wire.link_payload(kid, pub))
        links.append(wire.KeyLink(kid, pub, self.kid, voucher))
        self.kid = kid
        return msgspec.json.encode(wire.KeyChain(1, self.environment, tuple(links)))


def _text(private: Ed25519PrivateKey) -> str:
    raw = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return wire.SdkKey.format("", "", raw).lstrip(".")

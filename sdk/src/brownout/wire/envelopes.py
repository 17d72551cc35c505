"""The messages that travel over NATS, and the hash chain through them (docs/adr/0003-transport.md).

Signed bytes are stored bytes are published bytes: nothing is ever encoded again on the way.
"""

import hashlib
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import msgspec

from brownout.wire.emergency import Emergency

if TYPE_CHECKING:
    pass


MAX_ENVELOPE_BYTES = 512 * 1024
"""A larger commit is published as `reset` right after its snapshot."""


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding bytes of a stranger's can raise: msgspec tells broken UTF-8 and deep nesting by errors of their own."""


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of a commit. `put` carries the spec's exact JSON; `reset` says: fetch the snapshot. A later version says
    what it does otherwise by another `op`: fields that are unknown here only describe."""

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


class _Position(msgspec.Struct):
    """What every version's envelope says."""

    v: int
    env: str
    ep: int
    rev: int
    pch: str
    ts: int


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
    fleet: int = 0
    """Live instances of the environment, as the sender has heard them; 0 if it does not know."""


_Signed = TypeVar("_Signed", bound=Envelope | Manifest | Heartbeat | Emergency)


def read(payload: bytes, type_: type[_Signed]) -> _Signed:
    """A message, whatever version wrote it. An envelope with steps that this one does not know resets: a snapshot says
    what they do.

    Raises:
        One of UNREADABLE: it is no such message.
    """
    try:
        return msgspec.json.decode(payload, type=type_)
    except msgspec.ValidationError:
        if type_ is not Envelope:
            raise
        at = msgspec.json.decode(payload, type=_Position)
        return cast("_Signed", Envelope(at.v, at.env, at.ep, at.rev, at.pch, at.ts, (Operation("reset"),)))


class Outside(msgspec.Struct, frozen=True, omit_defaults=True):
    """An activation that an instance applies and that is not in the log. `origin` as in brownout.policy."""

    origin: str
    key: str
    profile: str
    reason: str = ""


class Presence(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an instance says of itself on `bot.<env>.<key>.<instance>.p`. `age_s` is the age of what it serves; `ts` and
    `applied_at` are in the control plane's time, as far as the instance knows it."""

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
    clock_skew_ms: int = 0
    """How far the instance's own clock is ahead of the control plane's."""
    schema_level: int = 1
    """What the instance can read (brownout.model.levels)."""
    proof: bytes = b""
    """Only after a heartbeat showed an older head than `rev`: the signed bytes (the envelope of `rev`, or the manifest
    that led to it) which prove that the control plane once was there. Without it a report of being ahead is ignored."""
    proof_kind: Literal["", "log", "snapshot"] = ""
    proof_sig: str = ""
    outside: tuple[Outside, ...] = ()
    """The activations it applies that are not in the log, at most 8."""


def chain(previous: str, payload: bytes) -> str:
    """The chain value after `payload`: 32 hex digits of sha256(previous ‖ payload)."""
    return hashlib.sha256(previous.encode() + payload).hexdigest()[:32]

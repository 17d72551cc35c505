"""Everything that a client's threads would load or build at first use, done in the caller's thread before they start.

A fork copies only the thread that forks. Had another one just been importing a module, or had msgspec been building the
decoder of a struct, the child would wait for good for a lock that nobody holds, or crash (docs/adr/0048). Two clients
that start together would also build the same decoders at the same time.
"""

import importlib
import os
from contextlib import suppress
from functools import cache

import msgspec

from brownout import wire
from brownout._sync import native
from brownout._sync.reporter import sdk_version
from brownout.model.kinds import KINDS
from brownout.model.resources import VALUE_TYPES, SafeModeActivation, SafeModeProfile
from brownout.model.tightest import decode_tightest
from brownout.telemetry.watched import Watched
from brownout.wire.bundle import Bundle, Signed
from brownout.wire.leases import Ask, Grant, LeaseAnswer, LeaseRequest
from brownout.wire.telemetry import TelemetryMessage

_LATER = (
    "cryptography.exceptions",  # a bad signature
    "encodings.idna",  # any host's name
    "stringprep",
    "traceback",  # logging an exception
    "linecache",
    "tokenize",
    "tempfile",  # the disk copy
    "nats.errors",
)
"""Imported somewhere below us on first use."""

_DECODED = (
    *(kind.struct for kind in KINDS.values() if not kind.plane),
    *VALUE_TYPES.values(),
    wire.Emergency,
    wire.Envelope,
    wire.Heartbeat,
    wire.KeyChain,
    wire.Manifest,
    wire.Operation,
    wire.Presence,
    Ask,
    Bundle,
    Grant,
    LeaseAnswer,
    LeaseRequest,
    tuple[Signed, ...],
    TelemetryMessage,
    Watched,
    dict[str, msgspec.Raw],
)


class _Turn:
    """One thread at a time. A child makes its own lock: the thread that holds this one does not exist there."""

    def __init__(self) -> None:
        self.lock = native.lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.lock = native.lock()


_turn = _Turn()


def prepare() -> None:
    """Does the work once in a process; a child inherits the result. Any thread may call it."""
    with _turn.lock:
        _prepare()


@cache
def _prepare() -> None:
    for module in _LATER:
        importlib.import_module(module)
    for type_ in _DECODED:
        for decoder in (msgspec.json.Decoder, msgspec.msgpack.Decoder):
            with suppress(TypeError):  # msgspec.Raw exists in one format only
                decoder(type_)
    for safe_mode in (SafeModeProfile, SafeModeActivation):
        with suppress(msgspec.ValidationError):
            decode_tightest(safe_mode, b'{"newer":0,"banner":{"newer":0},"scope":{"newer":0}}')
    sdk_version()
    "localhost".encode("idna")
    _verify_in_vain()


def _verify_in_vain() -> None:
    """The library behind signatures loads parts of itself when it first refuses one."""
    verifier = wire.Verifier("prepare", {"none": bytes(32)})
    verifier.verify("log", b"", "none." + "A" * 86 + "==")

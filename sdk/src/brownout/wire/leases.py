"""What an instance asks of its fleet's budget windows, and what it is granted (docs/wire.md, ADR 0125).

A lease is a part of a window that one instance may spend without asking again. Fields are only ever added, at the end and
with a default.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from brownout.wire.envelopes import UNREADABLE

Per = Literal["minute", "hour", "day", "month"]
"""How long a window lasts. Windows begin on the minute, hour, day or month of UTC."""

MOST_ASKS = 100
"""Of one message."""

SCOPE_BYTES = 16
EVERYONE = b"\0" * SCOPE_BYTES
"""The scope of a window that counts everyone together."""

MOST = 2**53
"""The largest amount in a message."""

_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400}
_Amount = Annotated[int, Meta(ge=0, le=MOST)]
_Label = Annotated[str, Meta(max_length=200)]


class Ask(msgspec.Struct, array_like=True, frozen=True):
    """What an instance wants of one window. `scope` is a hash: only the instance knows whose share it is."""

    flag: _Label
    variant: _Label
    scope: Annotated[bytes, Meta(min_length=SCOPE_BYTES, max_length=SCOPE_BYTES)]
    start: _Amount
    """Unix s at which the period began that it speaks of."""
    debt: _Amount = 0
    """What it has spent beyond its leases."""
    need: _Amount = 0
    """Less than this is of no use to it."""
    want: _Amount = 0
    """What would last it for a while."""
    degraded: bool = False
    """Whether it spent the debt while no one answered."""
    unit: _Label = ""
    """The window's unit, as the instance knows it; empty from older instances."""
    per: _Label = ""
    """The length of its periods, likewise."""


class Grant(msgspec.Struct, array_like=True, frozen=True):
    """The answer to one Ask."""

    flag: str
    variant: str
    scope: bytes
    start: int
    """Unix s at which the period began that the grant is of."""
    granted: int = 0
    charged: int = 0
    """Of the debt, what was counted."""
    left: int = 0
    """What the fleet may still spend in this period; negative when it has spent more."""


class LeaseRequest(msgspec.Struct, array_like=True):
    """`number` comes back with the answer."""

    version: int
    number: int
    asks: list[msgspec.Raw]


class LeaseAnswer(msgspec.Struct, array_like=True):
    version: int
    number: int
    grants: list[msgspec.Raw]


_T = TypeVar("_T")

VERSION = 1
_ENCODER = msgspec.msgpack.Encoder()
_REQUEST, _ANSWER = msgspec.msgpack.Decoder(LeaseRequest), msgspec.msgpack.Decoder(LeaseAnswer)
_ASK, _GRANT = msgspec.msgpack.Decoder(Ask), msgspec.msgpack.Decoder(Grant)


def encode_request(number: int, asks: Sequence[Ask]) -> bytes:
    return _ENCODER.encode((VERSION, number, asks))


def encode_answer(number: int, grants: Sequence[Grant]) -> bytes:
    return _ENCODER.encode((VERSION, number, grants))


def decode_request(data: bytes) -> tuple[int, list[Ask]]:
    """The number and the asks that can be read.

    Raises:
        One of UNREADABLE: `data` is no such message, or asks too much at once.
    """
    request = _REQUEST.decode(data)
    if len(request.asks) > MOST_ASKS:
        raise msgspec.ValidationError(f"more than {MOST_ASKS} asks")
    return request.number, _readable(request.asks, _ASK)


def decode_answer(data: bytes) -> tuple[int, list[Grant]]:
    """The number and the grants that can be read.

    Raises:
        One of UNREADABLE: `data` is no such message.
    """
    answer = _ANSWER.decode(data)
    return answer.number, _readable(answer.grants, _GRANT)


def _readable(items: Sequence[msgspec.Raw], decoder: "msgspec.msgpack.Decoder[_T]") -> list[_T]:
    found: list[_T] = []
    for item in items:
        try:
            found.append(decoder.decode(item))
        except UNREADABLE:
            continue
    return found


def period(per: Per, now_s: float) -> tuple[int, int]:
    """Returns the beginning and the end, in Unix seconds, of the period that `now_s` is in."""
    if per != "month":
        length = _SECONDS[per]
        start = int(now_s // length) * length
        return start, start + length
    first = datetime.fromtimestamp(now_s, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(first.timestamp()), int((first + timedelta(days=32)).replace(day=1).timestamp())


def scope_of(values: Mapping[str, str | None]) -> bytes:
    """The hash of a combination of attributes; None stands for a missing one."""
    if not values:
        return EVERYONE
    return hashlib.sha256(_ENCODER.encode(list(values.items()))).digest()[:SCOPE_BYTES]

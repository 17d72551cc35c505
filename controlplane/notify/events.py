"""Events before they are written, and the words that people read of them. Pure."""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from controlplane.notify.kinds import EventKind, Severity, kind_of

MAX_FIELDS = 40
MAX_VALUE = 2_000
MAX_TITLE = 300
MAX_DEDUPE = 200


class NewEvent(msgspec.Struct, frozen=True):
    """What an event consists of before it has a place. `message_id` is the receiver's means to see it only once."""

    message_id: str
    kind: str
    environment: str
    severity: int
    dedupe: str
    data: dict[str, str]

    @property
    def names(self) -> list[str]:
        """What a subscription may call it."""
        return [self.kind, kind_of(self.kind).family, "*"]


def new_event(key: str, fields: Mapping[str, object]) -> NewEvent:
    """Bounded, and without NUL, which Postgres does not store; whatever the cause's fields hold."""
    kind = kind_of(_text(key)[:100])
    data = {_text(name)[:100]: _text(value) for name, value in list(fields.items())[:MAX_FIELDS]}
    environment = data.get("environment", "")
    return NewEvent(
        message_id=_message_id(kind, data),
        kind=kind.key,
        environment=environment[:100],
        severity=int(kind.severity),
        dedupe=dedupe_key(kind, environment, data),
        data=data,
    )


def dedupe_key(kind: EventKind, environment: str, data: Mapping[str, str]) -> str:
    """`safe_mode/production/<activation>`: long ones end in a digest, so that two never become one."""
    whole = "/".join((kind.line or kind.key, environment, *(data.get(name, "") for name in kind.about)))
    if len(whole) <= MAX_DEDUPE:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:32]
    return f"{whole[: MAX_DEDUPE - 33]}/{digest}"


def title_of(kind: EventKind, data: Mapping[str, str]) -> str:
    """One line."""
    try:
        text = kind.title.format_map(_Lenient(data))
    except (ValueError, LookupError, AttributeError):
        text = kind.key
    return " ".join(text.split())[:MAX_TITLE]


def fields_of(data: Mapping[str, str], title: str) -> Iterable[tuple[str, str]]:
    """(label, text) of what the title does not say."""
    for name, text in data.items():
        if text and text not in title:
            yield name.replace("_", " ").capitalize(), text


def severity_word(rank: int) -> str:
    return max((each for each in Severity if each <= rank), default=Severity.NOTICE).word


def _message_id(kind: EventKind, data: Mapping[str, str]) -> str:
    if not kind.once:
        return f"msg_{secrets.token_hex(12)}"
    what = "\0".join((kind.key, *(data.get(name, "") for name in kind.once)))
    return f"msg_{hashlib.sha256(what.encode()).hexdigest()[:24]}"


def _text(value: object) -> str:
    """As Postgres can store it: no NUL, no half of a surrogate pair."""
    return str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode()[:MAX_VALUE]


class _Lenient(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return ""

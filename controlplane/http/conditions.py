"""If-Match, Idempotency-Key and ETag: optimistic concurrency over HTTP (RFC 9110 §13)."""

import re
from typing import Annotated, Generic, TypeVar

import msgspec
from litestar import Response
from litestar.params import HeaderParameter

from controlplane.configuration.store.draft import MAX_IDEMPOTENCY_KEY
from controlplane.configuration.store.values import Commit, Head
from controlplane.errors import Fault, InvalidInputError

T = TypeVar("T")
_ETAG = re.compile(r'(?:W/)?"(\d{1,18})"', re.ASCII)

IfMatch = Annotated[
    str | None,
    HeaderParameter(name="If-Match", description='The revision this change is based on, as `ETag` said it: `"912"`.'),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(name="Idempotency-Key", description="A repeated request answers as the first did, for 24 hours."),
]


class Conditions(msgspec.Struct, frozen=True):
    expected_revision: int | None
    idempotency_key: str | None


def provide_conditions(if_match: IfMatch = None, idempotency_key: IdempotencyKey = None) -> Conditions:
    """Raises InvalidInputError when If-Match is not one of our ETags, or the key is none."""
    if idempotency_key is not None and not 0 < len(idempotency_key.strip()) <= MAX_IDEMPOTENCY_KEY:
        words = f"Idempotency-Key takes 1 to {MAX_IDEMPOTENCY_KEY} characters"
        raise InvalidInputError(words, (Fault("invalid_header", words, "/Idempotency-Key"),))
    return Conditions(parse_etag(if_match) if if_match else None, idempotency_key)


def parse_etag(text: str) -> int | None:
    """The revision, or None for `*`."""
    if text.strip() == "*":
        return None
    found = _ETAG.fullmatch(text.strip())
    if not found:
        fault = Fault("invalid_header", 'If-Match takes a revision in quotes, as ETag said it: "912"', "/If-Match")
        raise InvalidInputError(fault.message, (fault,))
    return int(found[1])


class Tagged(Response[T], Generic[T]):
    """A response whose ETag is the environment's revision."""

    def __init__(self, content: T, revision: int, status_code: int | None = None) -> None:
        super().__init__(content, status_code=status_code, headers={"ETag": f'"{revision}"'})


def tagged(content: T, at: Head | Commit) -> Tagged[T]:
    return Tagged(content, at.revision)

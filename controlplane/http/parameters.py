"""What query strings hold: numbers that Postgres can hold, instants that a calendar of ours reaches, and text."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import unquote, unquote_to_bytes

from litestar import Request
from litestar.params import QueryParameter

from controlplane.errors import Fault, InvalidInputError

MAX_NUMBER = 2**63 - 1
"""Postgres's bigint."""

MAX_PAGE = 500

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_PAGE, description="How many at most.")]
Before = Annotated[int | None, QueryParameter(ge=1, le=MAX_NUMBER, description="`next` of the page before.")]
Revision = Annotated[
    int | None, QueryParameter(ge=0, le=MAX_NUMBER, description="An earlier revision; the head when absent.")
]


def utc(name: str, instant: datetime) -> datetime:
    """Raises InvalidInputError without an offset (whose midnight?), and where no calendar of ours reaches."""
    wrong = "needs its offset, such as Z or +02:00"
    if instant.tzinfo is not None:
        try:
            return instant.astimezone(UTC)
        except OverflowError:
            wrong = "is too far away"
    raise InvalidInputError(f"`{name}` {wrong}", (_fault(name, wrong),))


def text_faults(query: bytes) -> tuple[Fault, ...]:
    """What is not text in a raw query string: neither NUL nor anything but UTF-8 is."""
    if b"%" not in query and query.isascii():
        return ()
    return tuple(
        _fault(unquote(name.decode("latin-1")), "not text: it holds a NUL or is not UTF-8")
        for name, _, value in (pair.partition(b"=") for pair in query.split(b"&"))
        if not (is_text(name) and is_text(value))
    )


def is_text(quoted: bytes) -> bool:
    try:
        return "\0" not in unquote_to_bytes(quoted).decode()
    except UnicodeDecodeError:
        return False


def sent_name(request: Request[Any, Any, Any], argument: str) -> str:
    """What the sender calls a handler's argument: `from`, which Python cannot say."""
    field = request.route_handler.parsed_fn_signature.parameters.get(argument)
    alias = getattr(field.kwarg_definition, "name", None) if field else None
    return alias or argument


def _fault(name: str, message: str) -> Fault:
    return Fault("invalid_parameter", message, f"/{name}")


def duration(seconds: int) -> timedelta:
    """At most a century either way, so that services can refuse it by their own bounds."""
    century = 100 * 366 * 86_400
    return timedelta(seconds=max(-century, min(seconds, century)))

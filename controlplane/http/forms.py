"""HTML forms: their fields, few enough to be looked at, and kept nowhere.

Litestar's own reader has no bound on fields, and a cache of the last 1,024 bodies with what was typed into them.
"""

from typing import Any
from urllib.parse import parse_qsl

from litestar import Request

from controlplane.errors import Fault, InvalidInputError, TooLargeError

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 5_000
"""The form of a flag with a hundred rules has about two thousand."""
_READ = "form"

Fields = list[tuple[str, str]]


async def read_form(request: Request[Any, Any, Any]) -> Fields:
    """The fields in order, read once for each request; none where another kind of body was sent.

    Raises:
        TooLargeError: more than MAX_FIELDS.
        InvalidInputError: a field is not UTF-8.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        return []
    read: Fields | None = request.scope["state"].get(_READ)
    if read is None:
        read = request.scope["state"][_READ] = parse_form(await request.body())
    return read


def parse_form(body: bytes) -> Fields:
    if body.count(b"&") >= MAX_FIELDS:
        what = f"the form has more than {MAX_FIELDS:,} fields"
        raise TooLargeError(what, (Fault("too_large", what),))
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise InvalidInputError("the form is not UTF-8") from None

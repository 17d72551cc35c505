"""If-Match, If-None-Match, Idempotency-Key and ETag: optimistic concurrency over HTTP (RFC 9110 §13)."""

import re
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from litestar import Request, Response
from litestar.params import HeaderParameter

from brownout.model.resources import ResourceRef
from controlplane.configuration.store.basis import ABSENT, PRESENT, Bases
from controlplane.configuration.store.draft import MAX_IDEMPOTENCY_KEY
from controlplane.configuration.store.values import Commit, Head
from controlplane.errors import Fault, InvalidInputError

T = TypeVar("T")
MAX_TAGS = 100
_TAG = re.compile(r'[ \t]*(W/)?"(\d{1,18})"[ \t]*', re.ASCII)
NEVER = -1
"""No environment is ever at this revision."""

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        description='The revision this change is based on, as `ETag` said it: `"912"`. `*`: only if it exists.',
    ),
]
IfNoneMatch = Annotated[
    str | None,
    HeaderParameter(name="If-None-Match", description="`*`: create it, and refuse if it exists. Nothing else."),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(name="Idempotency-Key", description="A repeated request answers as the first did, for 24 hours."),
]


class Conditions(msgspec.Struct, frozen=True):
    """What a request makes its write depend on. `base` is of the resource that it is sent to, if it names any."""

    revisions: tuple[int, ...] | None
    base: int | None
    idempotency_key: str | None

    @property
    def expected_revision(self) -> tuple[int, ...] | int | None:
        """Of requests to the environment. Raises InvalidInputError for conditions that only a resource can meet."""
        if self.base is not None:
            raise _invalid(
                "If-None-Match" if self.base == ABSENT else "If-Match", "* needs the address of one resource"
            )
        return self.at

    @property
    def at(self) -> tuple[int, ...] | int | None:
        if self.revisions is not None and len(self.revisions) == 1:
            return self.revisions[0]
        return self.revisions

    @property
    def seen(self) -> int | None:
        """For what has no ETag of its own: it must not have changed after the newest of these revisions."""
        return None if self.revisions is None else max(self.revisions)

    def bases(self, kind: str, key: str) -> Bases:
        return {} if self.base is None else {ResourceRef(kind, key): self.base}


def provide_conditions(
    request: Request[Any, Any, Any],
    if_match: IfMatch = None,  # noqa: ARG001 - for the OpenAPI document; a header can come in several lines
    if_none_match: IfNoneMatch = None,  # noqa: ARG001
    idempotency_key: IdempotencyKey = None,
) -> Conditions:
    """Raises InvalidInputError when a condition is not one of ours, or the key is none."""
    if idempotency_key is not None and not 0 < len(idempotency_key.strip()) <= MAX_IDEMPOTENCY_KEY:
        raise _invalid("Idempotency-Key", f"1 to {MAX_IDEMPOTENCY_KEY} characters")
    revisions, base = None, None
    if (match := _lines(request, "If-Match")) is not None:
        revisions = parse_tags("If-Match", match)
        base = PRESENT if revisions is None else None
    if (none_match := _lines(request, "If-None-Match")) is not None:
        if match is not None:
            raise _invalid("If-None-Match", "no If-Match beside it")
        if parse_tags("If-None-Match", none_match) is not None:
            raise _invalid("If-None-Match", "only * on a write: it creates, or is refused")
        base = ABSENT
    return Conditions(revisions, base, idempotency_key)


def parse_tags(header: str, text: str) -> tuple[int, ...] | None:
    """The revisions that a list of entity tags names, or None for `*`. A weak tag never matches a write (RFC 9110
    §13.1.1), so it stands for NEVER. Raises InvalidInputError for what no ETag of ours said."""
    if text.strip() == "*":
        return None
    tags = [_TAG.fullmatch(tag) for tag in text.split(",") if tag.strip()]
    if not 0 < len(tags) <= MAX_TAGS or not all(tags):
        raise _invalid(header, 'a revision in quotes, as ETag said it: "912"')
    return tuple(NEVER if tag[1] else int(tag[2]) for tag in tags if tag)


def _lines(request: Request[Any, Any, Any], header: str) -> str | None:
    lines = request.headers.getall(header, [])
    return ", ".join(lines) if lines else None


def _invalid(header: str, takes: str) -> InvalidInputError:
    message = f"{header} takes {takes}"
    return InvalidInputError(message, (Fault("invalid_header", message, f"/{header}"),))


class Tagged(Response[T], Generic[T]):
    """A response whose ETag is the environment's revision."""

    def __init__(self, content: T, revision: int, status_code: int | None = None) -> None:
        super().__init__(content, status_code=status_code, headers={"ETag": f'"{revision}"'})


def tagged(content: T, at: Head | Commit) -> Tagged[T]:
    return Tagged(content, at.revision)

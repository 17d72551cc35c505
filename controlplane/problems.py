"""The one table from errors to what people get: problem title, HTTP status, exit code (RFC 9457)."""

from collections.abc import Mapping

import msgspec

from controlplane import errors
from controlplane.errors import BrownoutError, Fault
from controlplane.secret_box import SecretKeyError
from controlplane.store import IdempotencyKeyReusedError, StaleRevisionError
from controlplane.store.migrate import SchemaError

OK, REFUSED, USAGE, UNREACHABLE = 0, 1, 2, 3
"""The CLI's exit codes."""


class Outcome(msgspec.Struct, frozen=True):
    title: str
    exit_code: int = REFUSED


OUTCOMES: Mapping[type[BrownoutError], Outcome] = {
    errors.InvalidInputError: Outcome("The input is not acceptable"),
    errors.UnauthenticatedError: Outcome("Who are you?"),
    errors.ForbiddenError: Outcome("Not allowed"),
    errors.NotFoundError: Outcome("Not found"),
    errors.ConflictError: Outcome("It has changed meanwhile"),
    errors.TooLargeError: Outcome("Too large"),
    errors.RateLimitedError: Outcome("Too many requests"),
    errors.UnavailableError: Outcome("Not available now", UNREACHABLE),
    StaleRevisionError: Outcome("Somebody committed meanwhile"),
    IdempotencyKeyReusedError: Outcome("This idempotency key belongs to another request"),
    SecretKeyError: Outcome("The secret key does not fit the database", UNREACHABLE),
    SchemaError: Outcome("The database is of another version", UNREACHABLE),
}
"""Every subclass, or its nearest parent, stands here; tests/unit/test_problems.py sees to it."""

TITLES = {error.code: outcome.title for error, outcome in OUTCOMES.items()} | {
    "method_not_allowed": "Method not allowed",
    "internal": "Something broke here",
}
EXIT_CODES = {error.code: outcome.exit_code for error, outcome in OUTCOMES.items()} | {"internal": UNREACHABLE}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """application/problem+json. `code` is closed; `faults` name each wrong thing with a JSON pointer."""

    status: int
    code: str
    title: str
    detail: str
    type: str = "about:blank"
    instance: str = ""
    faults: tuple[Fault, ...] = ()


def problem(status: int, code: str, detail: str, instance: str = "", faults: tuple[Fault, ...] = ()) -> Problem:
    return Problem(
        status=status,
        code=code,
        title=TITLES[code],
        detail=detail,
        type=f"urn:brownout:problem:{code}",
        instance=instance,
        faults=faults,
    )


def problem_of(error: BrownoutError, instance: str = "") -> Problem:
    return problem(error.status, error.code, error.message, instance, error.faults)

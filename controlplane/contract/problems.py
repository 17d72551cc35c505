"""The one table from errors to what people get: HTTP status, problem title, exit code (RFC 9457).

Keyed by code, so that the CLI can read it without loading the control plane.
"""

from collections.abc import Mapping

import msgspec

from controlplane.contract.dto import ConflictOutput
from controlplane.errors import BrownoutError, Fault, RateLimitedError, StepUpRequiredError

OK, REFUSED, USAGE, UNREACHABLE = 0, 1, 2, 3
INTERRUPTED = 130
"""The CLI's exit codes; the last as shells expect it after Ctrl-C."""


class Outcome(msgspec.Struct, frozen=True):
    status: int
    title: str
    exit_code: int = REFUSED


OUTCOMES: Mapping[str, Outcome] = {
    "invalid": Outcome(422, "The input is not acceptable"),
    "unauthenticated": Outcome(401, "Who are you?"),
    "forbidden": Outcome(403, "Not allowed"),
    "approval_required": Outcome(403, "Approval required"),
    "address_not_allowed": Outcome(403, "Not from this address"),
    "second_factor_required": Outcome(403, "A second factor is needed"),
    "step_up_required": Outcome(403, "Confirm that it is you"),
    "not_found": Outcome(404, "Not found"),
    "conflict": Outcome(409, "The state has changed"),
    "stale_revision": Outcome(409, "Another commit came first"),
    "stale_resource": Outcome(409, "Another commit changed it first"),
    "already_exists": Outcome(409, "It exists already"),
    "merge_conflict": Outcome(409, "Both of you changed the same field"),
    "stale_proposal": Outcome(409, "It was changed meanwhile"),
    "idempotency_key_reused": Outcome(409, "This idempotency key belongs to another request"),
    "newer_version": Outcome(409, "A newer version wrote it"),
    "too_many_activations": Outcome(409, "Only a person may add another activation"),
    "too_large": Outcome(413, "Too large"),
    "rate_limited": Outcome(429, "Too many requests"),
    "unavailable": Outcome(503, "Not available now", UNREACHABLE),
    "secret_key": Outcome(503, "The secret key does not match the database", UNREACHABLE),
    "schema": Outcome(503, "The database has another version", UNREACHABLE),
    "method_not_allowed": Outcome(405, "Method not allowed"),
    "internal": Outcome(500, "Internal error", UNREACHABLE),
}
"""Closed: every BrownoutError's code stands here; tests/unit/test_problems.py sees to it."""


PRECONDITION_FAILED = 412
PRECONDITIONS = frozenset({"stale_revision", "stale_resource", "already_exists"})
"""Conflicts that are failed preconditions when the request itself sent the condition (RFC 9110 §15.5.13)."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """application/problem+json. `code` is closed; `faults` name each wrong thing with a JSON pointer."""

    status: int
    code: str
    title: str
    detail: str
    type: str = "about:blank"
    instance: str = ""
    faults: tuple[Fault, ...] = ()
    conflict: ConflictOutput | None = None
    """With `stale_revision`: what was committed since, and what you would have changed."""
    proofs: tuple[str, ...] = ()
    """With `step_up_required`: what you can prove it with."""


def problem(code: str, detail: str, instance: str = "", *, status: int = 0, faults: tuple[Fault, ...] = ()) -> Problem:
    outcome = OUTCOMES[code]
    return Problem(
        status=status or outcome.status,
        code=code,
        title=outcome.title,
        detail=detail,
        type=f"urn:brownout:problem:{code}",
        instance=instance,
        faults=faults,
    )


def status_of(error: BrownoutError) -> int:
    """The HTTP status of a refusal."""
    return OUTCOMES[error.code].status


def headers_of(error: BrownoutError) -> dict[str, str]:
    """What HTTP says beside the body: how to be somebody (RFC 9110 11.6.1), when to come back (10.2.3)."""
    if isinstance(error, RateLimitedError):
        return {"Retry-After": str(error.retry_after_s)}
    return {"WWW-Authenticate": "Bearer"} if status_of(error) == 401 else {}


def problem_of(error: BrownoutError, instance: str = "") -> Problem:
    made = problem(error.code, error.message, instance, faults=error.faults)
    return msgspec.structs.replace(made, proofs=error.proofs) if isinstance(error, StepUpRequiredError) else made

"""Errors are coded values: services raise these, one table per edge maps them to HTTP and exit codes."""

from typing import ClassVar

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with the input. `pointer` is a JSON pointer (RFC 6901) into what was sent; empty = all of it."""

    code: str
    message: str
    pointer: str = ""


class BrownoutError(Exception):
    """Base of everything a service refuses with. `code` is closed: clients may switch on it, and contract/problems.py
    maps it to a status."""

    code: ClassVar[str]

    def __init__(self, message: str, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.faults = faults


class InvalidInputError(BrownoutError):
    """The input is not acceptable; `faults` name each field."""

    code = "invalid"


class UnauthenticatedError(BrownoutError):
    code = "unauthenticated"


class SignInAgainError(UnauthenticatedError):
    """A session of single sign-on that the identity provider has not confirmed for too long."""


class ForbiddenError(BrownoutError):
    code = "forbidden"


class ApprovalRequiredError(ForbiddenError):
    """This environment wants approvals: propose the change, or break the glass. Nothing was written."""

    code = "approval_required"


class AddressNotAllowedError(ForbiddenError):
    """Not from where this request comes."""

    code = "address_not_allowed"


class SecondFactorRequiredError(BrownoutError):
    """Signed in with a password, and more is needed: the second factor, or to set one up. Nothing was done."""

    code = "second_factor_required"


class StepUpRequiredError(BrownoutError):
    """This needs a fresh proof of who asks. Nothing was done: prove it, and send the request again.

    `proofs` are the ways open to them: `password`, `code`, `passkey`, `recovery`, `sso`; none for a machine.
    """

    code = "step_up_required"

    def __init__(self, message: str = "confirm that it is you", proofs: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.proofs = proofs


class NotFoundError(BrownoutError):
    code = "not_found"


class ConflictError(BrownoutError):
    """The environment moved on since the caller read it, or the thing exists already."""

    code = "conflict"


class StaleProposalError(ConflictError):
    """What the proposal changes was changed meanwhile: rebase it, having seen both."""

    code = "stale_proposal"


class MergeConflictError(ConflictError):
    """Two changes of the same fields; `faults` name them. Choose one side. Nothing was saved."""

    code = "merge_conflict"


class NewerVersionError(ConflictError):
    """A newer version wrote what this one would have to understand. Nothing was saved."""

    code = "newer_version"


class TooLargeError(BrownoutError):
    code = "too_large"


class RateLimitedError(BrownoutError):
    """Wait `retry_after_s` whole seconds, at least, before asking again."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(BrownoutError):
    """A part that this needs (Postgres, NATS) does not answer. Nothing was written."""

    code = "unavailable"

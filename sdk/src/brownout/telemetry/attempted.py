"""One call to a model, as it went: what the runner keeps in its reply, and what `client.record` takes."""

import msgspec

from brownout.model.values import ErrorClass, Purpose


class Attempted(msgspec.Struct, frozen=True):
    """One attempt. `error` is None where it answered, `usage` None where the provider did not count."""

    target: str
    provider: str
    model: str
    purpose: Purpose = "answer"
    error: ErrorClass | None = None
    message: str = ""
    duration_ms: float | None = None
    first_token_ms: float | None = None
    usage: tuple[int, int] | None = None
    """Tokens of the prompt and of the completion."""

    @property
    def is_retry(self) -> bool:
        """Whether it repeats an attempt of the same turn."""
        return self.purpose in {"retry", "feedback"}

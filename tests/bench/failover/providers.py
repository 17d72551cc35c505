"""Two providers on loopback, and the ways in which they fail: the answers of the real APIs, in the form asked for."""

from sdk.tests.providers.bodies import FILTERED, QUOTA, openai_error
from sdk.tests.providers.server import Answer, Provider, error
from sdk.tests.providers.speech import Said, stream, whole

DOWN = error(503, openai_error("That model is currently overloaded with other requests.", "server_error", None))
LIMITED = error(
    429,
    openai_error("Rate limit reached for m-1 on requests per min", "requests", "rate_limit_exceeded"),
    retry_after="30",
)
EXHAUSTED = error(429, openai_error(QUOTA, "insufficient_quota", "insufficient_quota"))
FILTER = error(400, openai_error("The response was filtered", None, "content_filter", status=400, innererror=FILTERED))
HEALTHY, REFUSING = Said("All is well."), Said(refusal="I cannot help with that.")


class FailingProvider(Provider):
    """Always answers in one way; what a model says is streamed to whom asks for a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.does: Answer | Said = HEALTHY

    def answer(self) -> Answer:
        if isinstance(self.does, Answer):
            return self.does
        if self.asked[-1].body.get("stream"):
            return stream("chat", self.does)
        if not self.does.refusal:
            return whole("chat", self.does.text)
        return _refused(self.does.refusal)


def _refused(refusal: str) -> Answer:
    body = whole("chat", "").body.replace(b'"content":""', b'"content":null,"refusal":"' + refusal.encode() + b'"')
    return Answer(body=body)

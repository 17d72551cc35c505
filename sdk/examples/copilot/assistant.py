"""The copilot itself: every request asks for its policy, obeys it, and says how it went."""

import random
import time
from collections.abc import Mapping
from typing import NamedTuple

from brownout import Brownout
from brownout.evaluation.policy import Policy, PolicyRung, PolicyTarget
from brownout.model.template import render
from brownout.model.values import ErrorClass
from copilot.model import Completion, ModelCaller, ModelError

REQUEST_CLASS = "support-reply"
BUSY = "We are very busy right now. Please try again in a few minutes."


class Reply(NamedTuple):
    """What the customer reads, who answered, and after how long."""

    text: str
    by: str
    banner: str
    duration_ms: float
    revision: int


class Answered(NamedTuple):
    text: str
    by: str
    completion: Completion | None = None


class Assistant:
    """Not thread-safe only in its cache; one per thread or a real cache would do."""

    def __init__(self, client: Brownout, provider_url: str) -> None:
        self._client = client
        self._models = ModelCaller(provider_url)
        self._cache: dict[str, tuple[float, str]] = {}
        self.for_people: list[tuple[str, str]] = []
        """What waits for a person: (queue, question)."""

    def answer(self, question: str, person: Mapping[str, object]) -> Reply:
        policy = self._client.policy(REQUEST_CLASS, person)
        began = time.monotonic()
        banner = policy.banner.text if policy.banner else ""
        answered, error, rung = self._obey(policy, question, person)
        duration_ms = (time.monotonic() - began) * 1000
        completion = answered.completion
        self._client.record(
            policy,
            error_class=error,
            rung=rung.rung.type if rung else None,
            input_tokens=completion.input_tokens if completion else 0,
            output_tokens=completion.output_tokens if completion else 0,
            duration_ms=duration_ms,
            time_to_first_token_ms=completion.first_token_ms if completion else None,
            refused=bool(completion and completion.refused),
            completed=rung is None or rung.type != "human_review",
            escalated=rung is not None and rung.type == "human_review",
        )
        return Reply(answered.text, answered.by, banner, duration_ms, policy.revision)

    def _obey(
        self, policy: Policy, question: str, person: Mapping[str, object]
    ) -> tuple[Answered, ErrorClass | None, PolicyRung | None]:
        """In the order that a policy asks for: stop, shed, sensitive, then the model and the ladder."""
        if policy.stop:
            return Answered(BUSY, "stopped"), None, None
        if policy.shed:
            return Answered(BUSY, "shed"), None, None
        error: ErrorClass = "overloaded"
        if policy.sensitive == "human_review" and "refund" in question:
            rung = next((rung for rung in policy.ladder.rungs if rung.type == "human_review"), None)
            return self._to_people(rung.rung.queue if rung else None, question), None, rung
        if policy.model is not None:
            try:
                completion = self._with_retries(policy, policy.model, question)
            except ModelError as failed:
                error = failed.error
            else:
                self._cache[question] = (time.monotonic(), completion.text)
                return Answered(completion.text, policy.model.model, completion), None, None
        for rung in policy.ladder.after(error):
            answered = self._try(rung, policy, question, person)
            if answered is not None:
                return answered, error, rung
        return Answered(BUSY, "nobody"), error, None

    def _with_retries(self, policy: Policy, target: PolicyTarget, question: str) -> Completion:
        """Raises ModelError when the policy allows no further attempt."""
        retry = policy.retry
        for attempt in range(1, retry.max_attempts + 1):
            try:
                return self._models.complete(target, question, policy.tools, _most(policy, target))
            except ModelError as failed:
                late = failed.started and retry.before_first_token_only
                if attempt == retry.max_attempts or late or failed.error not in retry.retry_on:
                    raise
                backoff_ms = min(retry.max_backoff_ms, retry.initial_backoff_ms * 2 ** (attempt - 1))
                time.sleep(backoff_ms / 1000 * (random.random() if retry.jitter == "full" else 1.0))
        raise ModelError("overloaded", started=False)

    def _try(self, rung: PolicyRung, policy: Policy, question: str, person: Mapping[str, object]) -> Answered | None:
        """What a rung answers, or None when it cannot."""
        if rung.target is not None:
            try:
                completion = self._models.complete(rung.target, question, policy.tools, _most(policy, rung.target))
            except ModelError:
                return None
            return Answered(completion.text, f"{rung.target.model} instead", completion)
        if rung.type == "cache":
            at, text = self._cache.get(question, (0.0, ""))
            fresh = text and time.monotonic() - at <= (rung.rung.max_age_s or float("inf"))
            return Answered(text, "from the cache") if fresh else None
        if rung.text is not None:
            return Answered(render(rung.text, {"topic": question, **person}), "a template")
        return self._to_people(rung.rung.queue, question)

    def _to_people(self, queue: str | None, question: str) -> Answered:
        self.for_people.append((queue or "support", question))
        return Answered("A colleague will answer you today.", f"a person ({queue or 'support'})")


def _most(policy: Policy, target: PolicyTarget) -> int | None:
    """The stricter of what the budget and the target allow."""
    limits = [
        n for n in (policy.budget.per_request.max_output_tokens, target.params.max_output_tokens) if n is not None
    ]
    return min(limits, default=None)

"""A made-up service that obeys its policies: what any service does with `client.policy` and `client.record`."""

import random
from collections.abc import Mapping

from brownout import Brownout
from brownout.evaluation.policy import Policy, PolicyRung
from brownout.model.values import ErrorClass
from controlplane.demo.provider import Answer, Provider

INPUT_TOKENS = {"support-reply": 1_400, "support-summary": 2_600, "refund-decision": 900}


class DemoService:
    """One running instance: an SDK client of its own, the shared provider, some luck."""

    def __init__(self, client: Brownout, provider: Provider, chance: random.Random) -> None:
        self._client = client
        self._provider = provider
        self._chance = chance

    async def serve(self, request_class: str, context: Mapping[str, object]) -> None:
        """One request: ask what to do, do it, say how it went."""
        client = self._client
        client.boolean("web-search", context)
        client.string("reply-tone", context)
        policy = client.policy(request_class, context)
        if policy.stop or policy.shed:
            client.record(policy, completed=False, escalated=policy.stop)
            return
        if policy.sensitive == "human_review" and self._chance.random() < 0.3:
            client.record(policy, rung="human_review", escalated=True, completed=True)
            return
        await self._answer(policy, self._tokens(request_class, policy))

    async def _answer(self, policy: Policy, input_tokens: int) -> None:
        error: ErrorClass | None = None
        spent_ms = 0.0
        if policy.model is not None:
            for _ in range(policy.retry.max_attempts):
                answer = await self._provider.call(policy.model.provider, policy.model.model)
                spent_ms += answer.duration_ms
                error = answer.error
                if error is None:
                    self._succeeded(policy, answer, input_tokens, spent_ms)
                    return
                if error not in policy.retry.retry_on:
                    break
        await self._descend(policy, error or "overloaded", input_tokens, spent_ms)

    async def _descend(self, policy: Policy, error: ErrorClass, input_tokens: int, spent_ms: float) -> None:
        """Down the ladder until somebody answers."""
        for rung in policy.ladder.after(error):
            answered = await self._try(rung)
            if answered is None:
                continue
            self._client.record(
                policy, error_class=error, rung=rung.rung.type, input_tokens=input_tokens,
                output_tokens=answered.output_tokens, duration_ms=spent_ms + answered.duration_ms,
                escalated=rung.type == "human_review", completed=rung.type != "human_review", retrieval_hit=None,
            )  # fmt: skip
            return
        self._client.record(policy, error_class=error, input_tokens=input_tokens, duration_ms=spent_ms, completed=False)

    async def _try(self, rung: PolicyRung) -> Answer | None:
        if rung.target is not None:
            answer = await self._provider.call(rung.target.provider, rung.target.model)
            return answer if answer.error is None else None
        if rung.type == "cache" and self._chance.random() < 0.6:
            return None
        return Answer(12.0, 0)

    def _succeeded(self, policy: Policy, answer: Answer, input_tokens: int, spent_ms: float) -> None:
        grounded = self._chance.random() < 0.96
        self._client.record(
            policy, input_tokens=input_tokens, output_tokens=answer.output_tokens, duration_ms=spent_ms,
            time_to_first_token_ms=answer.time_to_first_token_ms, quality=None if answer.refused else answer.quality,
            refused=answer.refused, format_ok=answer.format_ok, completed=not answer.refused,
            escalated=answer.refused and self._chance.random() < 0.5, retrieval_hit=grounded,
        )  # fmt: skip
        if not answer.refused and self._chance.random() < 0.08:
            self._client.track("thumbs-up" if answer.quality > 0.85 else "thumbs-down")

    def _tokens(self, request_class: str, policy: Policy) -> int:
        wanted = int(INPUT_TOKENS.get(request_class, 1_000) * self._chance.lognormvariate(0, 0.4))
        return min(wanted, policy.budget.per_request.max_input_tokens or wanted)

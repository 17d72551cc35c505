"""What the runner tells of a request by itself (ADR 0160)."""

from typing import TYPE_CHECKING

from brownout.runner.reply import Reply
from brownout.runner.spending import settled

if TYPE_CHECKING:
    from brownout.runner.request import Request


def record(request: "Request", reply: Reply) -> None:
    """Tells the client how a request went, for telemetry."""
    outcome, rung, target = reply.outcome, reply.rung, reply.target
    if outcome == "cancelled" and request.state.delivered:  # left while the answer of this target was read
        rung, target = "model", getattr(request.state.target(request.state.at), "name", None)
    own = rung == "model" and target == (request.policy.model.name if request.policy.model else None)
    answered = outcome == "answered"
    checked = request.options.validate is not None and rung == "model"
    request.core.client.record(
        settled(request.policy),
        error_class=None if outcome == "cancelled" or (own and answered) else reply.error,
        input_tokens=reply.usage[0],
        output_tokens=reply.usage[1],
        duration_ms=reply.duration_ms,
        time_to_first_token_ms=request.first_token_ms,
        quality=request.output.quality if rung == "model" else None,
        rung=None if own else rung,
        answered_by=target,
        attempts=reply.attempts,
        refused=reply.error in {"refusal", "content_filter"},
        format_ok=reply.format_ok if checked or not reply.format_ok else None,
        completed=None if outcome == "pending" else answered,
        escalated=rung == "human_review",
        retrieval_hit=None if request.options.evidence is None else bool(request.options.evidence),
        provisional=reply.provisional,
        shed=outcome == "shed",
        stopped=outcome == "stopped",
        queued=outcome in {"queued", "pending"},
        abandoned=outcome == "cancelled",
        prompt_tokens=request.state.facts.input_tokens,
        cache_age_s=None if request.as_of is None else request.core.wall_s() - request.as_of.timestamp(),
        drill=request.options.drill,
    )

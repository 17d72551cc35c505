"""A policy in plain words, line by line: what people compare before they switch safe mode on."""

from collections.abc import Mapping

from brownout.evaluation.policy import Policy, PolicyRung


def describe(policy: Policy) -> Mapping[str, str]:
    """What governs a request of this class, each part in words. Parts that say nothing are left out."""
    model, budget, tools = policy.model, policy.budget, policy.tools
    params = model.params if model else None
    parts = {
        "model": f"{model.provider}/{model.model}" if model else "none",
        "temperature": _number(params.temperature if params else None),
        "output tokens": _limit(params.max_output_tokens if params else None, budget.per_request.max_output_tokens),
        "input tokens": _limit(model.max_context_tokens if model else None, budget.per_request.max_input_tokens),
        "ladder": " → ".join(map(_rung, policy.ladder.rungs)),
        "tools": _tools(tools.include, tools.exclude),
        "attempts": str(policy.retry.max_attempts),
        "prompt": f"version {policy.prompt.version}" if policy.prompt else "",
        "sensitive": policy.sensitive.replace("_", " "),
        "shed": f"{policy.shed_bp / 100:g} %" if policy.shed_bp else "",
        "banner": policy.banner.text if policy.banner else "",
        "stop": "stopped" if policy.stop else "",
    }
    return {name: said for name, said in parts.items() if said}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _limit(*limits: int | None) -> str:
    known = [limit for limit in limits if limit is not None]
    return f"≤ {min(known):,}" if known else ""


def _rung(rung: PolicyRung) -> str:
    if rung.target is not None:
        return f"{rung.target.provider}/{rung.target.model}"
    name = rung.rung.template or rung.rung.queue
    return f"{rung.type.replace('_', ' ')} {name}" if name else rung.type.replace("_", " ")


def _tools(include: tuple[str, ...], exclude: tuple[str, ...]) -> str:
    if not include or "*" in exclude:
        return "none"
    allowed = "all" if include == ("*",) else ", ".join(include)
    return f"{allowed} except {', '.join(exclude)}" if exclude else allowed

"""The playground: what a context gets, a flag or a whole policy, now or at any revision, and why."""

from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from brownout.evaluation.policy import Policy
from brownout.evaluation.trace import Trace
from controlplane.access.actor import Action
from controlplane.configuration.evaluations import Situation
from controlplane.errors import BrownoutError
from controlplane.safemode.words import describe
from controlplane.web.editing.jsondiff import pretty
from controlplane.web.flags.rules import sentence
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import ClauseLine
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import words

EXAMPLE = '{"targeting_key": "u-42", "plan": "pro"}'
REASONS = {
    "TARGETING_MATCH": "a rule matched",
    "SPLIT": "a split chose",
    "DEFAULT": "no rule matched",
    "STATIC": "there are no rules",
    "DISABLED": "the flag is off",
    "ERROR": "it could not be decided",
}


class RuleLine(msgspec.Struct, frozen=True):
    number: int
    id: str
    clauses: tuple[ClauseLine, ...]
    matched: bool


class Answer(msgspec.Struct, frozen=True):
    """What came out. Exactly one of `rules` and `parts` says more: rules for a flag, parts for a policy."""

    title: str
    because: str
    value: str
    revision: int
    rules: tuple[RuleLine, ...]
    parts: tuple[tuple[str, str], ...]
    safe_mode: str


class PlaygroundPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "playground/playground.html"

    frame: Frame
    subject: str
    flags: tuple[str, ...]
    classes: tuple[str, ...]
    context: str
    service: str
    revision: str
    answer: Answer | None
    error: str
    here: str


class PlaygroundController(Controller):
    path = "/e/{environment:str}/playground"
    include_in_schema = False

    @get(opt={"action": Action.EVALUATE})
    async def play(
        self,
        visit: NamedDependency[Visit],
        environment: FromPath[str],
        *,
        flag: FromQuery[str] = "",
        request_class: FromQuery[str] = "",
        subject: FromQuery[str] = "",
        context: FromQuery[str] = "",
        service: FromQuery[str] = "",
        revision: FromQuery[str] = "",
    ) -> Response[Any]:
        """`subject` is `flag/<key>` or `request_class/<key>`; every question has an address."""
        chosen = subject or (f"flag/{flag}" if flag else f"request_class/{request_class}" if request_class else "")
        answer, error = None, ""
        if chosen and (context or subject):
            try:
                answer = await _answer(
                    visit,
                    environment,
                    chosen,
                    context=context or "{}",
                    service=service.strip(),
                    revision=revision.strip(),
                )
            except (BrownoutError, msgspec.DecodeError, ValueError) as refused:
                error = refused.message if isinstance(refused, BrownoutError) else f"the context: {refused}"
        reads = visit.services.reads
        flags = await reads.resources(visit.actor, environment, "flag", limit=500)
        classes = await reads.resources(visit.actor, environment, "request_class", limit=200)
        return visit.page(
            PlaygroundPage(
                frame=await visit.frame(environment, "playground"),
                subject=chosen,
                flags=tuple(item.key for item in flags.items),
                classes=tuple(item.key for item in classes.items),
                context=context or EXAMPLE,
                service=service,
                revision=revision,
                answer=answer,
                error=error,
                here=url(environment, "playground"),
            ),
            422 if error else 200,
        )


async def _answer(visit: Visit, environment: str, subject: str, *, context: str, service: str, revision: str) -> Answer:
    kind, _, key = subject.partition("/")
    situation = Situation(
        context=msgspec.json.decode(context, type=dict[str, Any]),
        service=service,
        revision=int(revision.removeprefix("r")) if revision else None,
    )
    if kind == "request_class":
        return _of_policy(await visit.services.evaluations.policy(visit.actor, environment, key, situation))
    return _of_flag(key, await visit.services.evaluations.explain(visit.actor, environment, key, situation))


def _of_flag(key: str, found: Trace) -> Answer:
    decision = found.decision
    numbered = {rule.id: number for number, rule in enumerate(found.rules, 1)}
    because = REASONS.get(decision.reason, words(decision.reason.lower()))
    if decision.rule:
        because = f"rule {numbered.get(decision.rule, '')} ({decision.rule}) matched".replace("  ", " ")
    if decision.error_code:
        because = f"{because}: {words(decision.error_code.lower())}"
    variant = f"variant {decision.variant}" if decision.variant else "the default of the caller"
    return Answer(
        title=f"{key}: {variant}",
        because=because + (", after a split by its unit" if decision.reason == "SPLIT" and decision.rule else ""),
        value=pretty(msgspec.to_builtins(decision.value)),
        revision=decision.revision,
        rules=tuple(
            RuleLine(
                numbered[rule.id],
                rule.id,
                tuple(
                    ClauseLine.of(sentence(msgspec.to_builtins(tested.clause)), tested.result)
                    for tested in rule.clauses
                ),
                rule.matched,
            )
            for rule in found.rules
        ),
        parts=(),
        safe_mode=str(decision.metadata.get("safe_mode", "")),
    )


def _of_policy(found: Policy) -> Answer:
    because = "; ".join(
        f"{field}: {decision.flag} → {decision.variant or 'none'}" for field, decision in found.provenance.items()
    )
    return Answer(
        title=f"{found.request_class}: {found.model.model if found.model else 'no model'}",
        because=because,
        value="",
        revision=found.revision,
        rules=(),
        parts=tuple(describe(found).items()),
        safe_mode=", ".join(found.safe_mode.profiles),
    )

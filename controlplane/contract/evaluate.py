"""What the API takes and gives when somebody asks what a context gets."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from controlplane.contract.dto import Input, Json

if TYPE_CHECKING:  # the CLI reads these structs without loading the store
    from brownout.evaluation.decision import Decision
    from brownout.evaluation.trace import Trace
    from controlplane.configuration.evaluations import Situation


class _SituationInput(Input, frozen=True, kw_only=True):
    """`revision` null is the head. `at` is the instant at which activations are judged."""

    context: dict[str, Any] = msgspec.field(default_factory=dict)
    service: str = ""
    revision: int | None = None
    at: datetime | None = None

    def situation(self) -> "Situation":
        from controlplane.configuration.evaluations import Situation

        return Situation(self.context, self.service, self.revision, self.at)


class EvaluateInput(_SituationInput, frozen=True, kw_only=True):
    flag: str


class PolicyInput(_SituationInput, frozen=True, kw_only=True):
    request_class: str


class DecisionOutput(msgspec.Struct, frozen=True):
    """OpenFeature's reasons and error codes; `value` is null with an error."""

    flag: str
    value: Json
    variant: str | None
    reason: str
    rule: str | None
    revision: int
    error_code: str | None
    metadata: dict[str, bool | int | float | str]

    @classmethod
    def of(cls, decision: "Decision[object]") -> "DecisionOutput":
        return cls(
            flag=decision.flag,
            value=Json(msgspec.json.encode(decision.value)),
            variant=decision.variant,
            reason=decision.reason,
            rule=decision.rule,
            revision=decision.revision,
            error_code=decision.error_code,
            metadata=dict(decision.metadata),
        )


class ClauseOutput(msgspec.Struct, frozen=True):
    clause: Json
    result: str


class RuleOutput(msgspec.Struct, frozen=True):
    id: str
    matched: bool
    clauses: tuple[ClauseOutput, ...]


class ExplanationOutput(msgspec.Struct, frozen=True):
    """The rules tried, in order, up to the one that served; `text` says it in words."""

    decision: DecisionOutput
    rules: tuple[RuleOutput, ...]
    text: str

    @classmethod
    def of(cls, found: "Trace") -> "ExplanationOutput":
        from brownout.evaluation.trace import explain

        rules = tuple(
            RuleOutput(
                rule.id,
                rule.matched,
                tuple(ClauseOutput(Json(msgspec.json.encode(c.clause)), c.result) for c in rule.clauses),
            )
            for rule in found.rules
        )
        return cls(DecisionOutput.of(found.decision), rules, explain(found))

"""What an instance reports on `bot.<env>.<key>.<instance>.m`: everything it counted since it started.

Totals are cumulative, so a message replaces every earlier one of the same (instance, start): a lost, repeated or
reordered message changes nothing. The receiver folds the difference to what it has (docs/adr/0071-telemetry.md). Of the
units of a rollout only those seen lately are told, see docs/adr/0110.
"""

from typing import Annotated, Any, NamedTuple, Self

import msgspec
from msgspec import Meta

from brownout.model.measures import compared

VERSION = 1

OTHER = "(other)"
"""The label that takes what no longer fits: an instance keeps a bounded number of series."""


LARGEST_SUM = 2**62
"""Sums of counts stop here, whatever was reported: what adds up must stay something that can be stored."""


class Totals(msgspec.Struct, array_like=True):
    """Numbers, maps and lists of numbers, and maps of other totals, that add and subtract field by field. Sums saturate.

    Fields are only ever added, at the end and with a default: an older reader leaves out what it does not know.
    """

    def plus(self, other: Self) -> Self:
        return type(self)(*[_combine(getattr(self, f), getattr(other, f), 1) for f in self.__struct_fields__])

    def minus(self, other: Self) -> Self:
        return type(self)(*[_combine(getattr(self, f), getattr(other, f), -1) for f in self.__struct_fields__])


def _combine(a: Any, b: Any, sign: int) -> Any:
    if isinstance(a, dict):
        if not b:
            return a
        merged = dict(a)
        for key, n in b.items():
            if isinstance(n, Totals):
                known = merged.get(key) or type(n)()
                merged[key] = known.plus(n) if sign > 0 else known.minus(n)
                empty = merged[key] == type(n)()
            else:
                merged[key] = _number(merged.get(key, 0) + sign * n)
                empty = not merged[key]
            if empty:
                del merged[key]
        return merged
    if isinstance(a, list):
        return [_number(x + sign * y) for x, y in zip(a, b, strict=True)]
    return _number(a + sign * b)


def _number(sum_: Any) -> Any:
    return sum_ if isinstance(sum_, float) or -LARGEST_SUM <= sum_ <= LARGEST_SUM else LARGEST_SUM


PRIMARY = "primary"
"""In the place of a rung: the policy's own model."""

OK = "ok"
"""In the place of an error class: the attempt answered."""


class RungTotals(Totals):
    """What became of the requests that one rung answered."""

    served: int = 0
    known: int = 0
    """Of which it is known whether the user got what they came for."""
    completed: int = 0
    escalated: int = 0
    abandoned: int = 0
    """The user left before the end."""


class AttemptKey(NamedTuple):
    provider: str
    model: str


class AttemptTotals(Totals):
    """The calls to one model. Its tokens are what it spent itself. The sketch counts milliseconds."""

    outcomes: dict[str, int] = {}
    """By error class, and OK."""
    retries: int = 0
    """Of the attempts, those that repeated one."""
    input_tokens: int = 0
    output_tokens: int = 0
    duration: dict[int, int] = {}

    @property
    def attempts(self) -> int:
        return sum(self.outcomes.values())


class RequestTotals(Totals):
    """What happened to the requests of one series. Sketches count milliseconds."""

    requests: int = 0
    errors: dict[str, int] = {}
    """By error class."""
    fallbacks: dict[str, int] = {}
    """By the rung that answered instead of the primary model."""
    refusals: int = 0
    format_checked: int = 0
    format_errors: int = 0
    escalations: int = 0
    completion_known: int = 0
    completions: int = 0
    retrievals: int = 0
    retrieval_misses: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    """Of all attempts together."""
    duration: dict[int, int] = {}
    time_to_first_token: dict[int, int] = {}
    quality_n: int = 0
    quality_total: float = 0.0
    rungs: dict[str, RungTotals] = {}
    """By what answered: `rung`, or `rung:target` where a model did; PRIMARY stands for the policy's own model."""
    attempts: dict[AttemptKey, AttemptTotals] = {}
    """Empty where services do not report attempts."""
    unanswered: int = 0
    """Every rung failed."""
    provisional: int = 0
    """Answered with less than an answer of a model: cached, sources only, saved for later, or cut off."""
    shed: int = 0
    stopped: int = 0
    queued: int = 0
    """A person or a later run has it."""
    abandoned: int = 0
    prompt: dict[int, int] = {}
    """A sketch of the prompts' sizes in tokens."""
    cache_age: dict[int, int] = {}
    """A sketch of how old cached answers were, in seconds."""


class CustomTotals(Totals):
    """What `client.track` reported under one name and set of attributes."""

    n: int = 0
    total: float = 0.0
    values: dict[int, int] = {}


class ArmTotals(Totals):
    """One arm of one stage of a rollout. Maps are by the names of measures; nothing is zero."""

    units: int = 0
    """Distinct units."""
    at_risk: dict[str, int] = msgspec.field(default_factory=dict)
    """Requests of units for which this measure had not been bad before."""
    bad: dict[str, int] = msgspec.field(default_factory=dict)
    """Units for which it became bad."""
    mean_n: dict[str, int] = msgspec.field(default_factory=dict)
    mean_total: dict[str, float] = msgspec.field(default_factory=dict)
    mean_squares: dict[str, float] = msgspec.field(default_factory=dict)

    def observe(self, measure: str, value: float) -> None:
        """Counts a unit's value."""
        for name, number in compared(measure, value):
            self.mean_n[name] = self.mean_n.get(name, 0) + 1
            self.mean_total[name] = self.mean_total.get(name, 0.0) + number
            self.mean_squares[name] = self.mean_squares.get(name, 0.0) + number * number


class EvaluationKey(NamedTuple):
    flag: str
    variant: str
    reason: str


class RequestKey(NamedTuple):
    """`model` and `variant` are what the policy assigned, whatever answered. `safe_mode` names the profiles in force,
    joined by `+`; empty when all is normal. `drill` names the drill that a request was part of. `prompt` is the prompt
    flag's variant and the version of its text, `plain@1f0c9a3e`; empty without one.

    Labels are only ever added, at the end and with a default.
    """

    request_class: str
    model: str
    variant: str
    safe_mode: str
    drill: str = ""
    prompt: str = ""


class CustomKey(NamedTuple):
    """`attributes` is `name=value` pairs, sorted, joined by `,`."""

    name: str
    attributes: str


class ArmKey(NamedTuple):
    """`rule` is the rule that assigned the units, `rollout:<key>:<run>.<stage>`."""

    rule: str
    variant: str


MAX_LEVEL = 20
"""One unit in a million."""

_Place = Annotated[int, Meta(ge=0, le=63)]
_Count = Annotated[int, Meta(ge=0, le=2**48)]


def ceiling(level: int) -> int:
    """The largest hash of a unit that is followed at `level`."""
    return int((1 << 64 - level) - (1 << 63) - 1)


class UnitCounts(msgspec.Struct, array_like=True):
    """What one unit has shown on this instance since the message after number `born`. Places are in `Arm.measures`."""

    unit: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
    """Its hash."""
    born: Annotated[int, Meta(ge=0, le=2**53)]
    at_risk: dict[_Place, _Count]
    """Requests for which the measure was known and had not been bad before."""
    bad: list[_Place]
    values: dict[_Place, Annotated[float, Meta(ge=-1e100, le=1e100)]]
    """The first value of each measure."""


class Arm(msgspec.Struct, array_like=True):
    totals: ArmTotals
    """What this instance has seen, of the units that it follows; `units` is scaled to all."""
    level: int
    """It follows one unit in 2^level."""
    measures: list[str]
    units: list[UnitCounts]
    """Those seen lately: the receiver counts a unit once for the fleet."""


class TelemetryMessage(msgspec.Struct, array_like=True):
    """Cumulative since `start`. `sequence` grows by one a message."""

    version: int
    instance: str
    start: int
    """Unix ms at which this instance began to count; an instance that starts again counts from zero."""
    sequence: int
    service: str
    sent_at: int
    """Unix ms, the instance's clock."""
    evaluations: dict[EvaluationKey, int]
    policies: dict[RequestKey, int]
    requests: dict[RequestKey, RequestTotals]
    custom: dict[CustomKey, CustomTotals]
    arms: dict[ArmKey, Arm]
    dropped: int
    """What could not be counted under its own labels, or at all, for lack of room or sense."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(TelemetryMessage)


def encode(message: TelemetryMessage) -> bytes:
    """A key without the newer labels is written as a version that knows of none writes and reads it."""
    requests: Any = {_written(key): totals for key, totals in message.requests.items()}
    policies: Any = {_written(key): n for key, n in message.policies.items()}
    return _ENCODER.encode(msgspec.structs.replace(message, requests=requests, policies=policies))


_FIRST_LABELS = len(RequestKey._fields) - len(RequestKey._field_defaults)


def _written(key: RequestKey) -> tuple[str, ...]:
    used = len(key)
    while used > _FIRST_LABELS and not key[used - 1]:
        used -= 1
    return key[:used]


def decode(data: bytes) -> TelemetryMessage:
    """Raises msgspec.DecodeError when `data` is no telemetry message."""
    return _DECODER.decode(data)


def rollout_rule(rollout: str, run: int, stage: int) -> str:
    """The id of the rule that a rollout owns in its flag during `stage` of `run`."""
    return f"rollout:{rollout}:{run}.{stage}"


class RolloutRule(NamedTuple):
    rollout: str
    run: int
    stage: int


def parse_rollout_rule(rule: str) -> RolloutRule | None:
    """None when `rule` belongs to no rollout."""
    prefix, _, rest = rule.partition(":")
    rollout, _, position = rest.rpartition(":")
    run, _, stage = position.partition(".")
    if prefix != "rollout" or not rollout or not run.isdecimal() or not stage.isdecimal():
        return None
    return RolloutRule(rollout, int(run), int(stage))

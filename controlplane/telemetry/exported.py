"""What this replica folded, as metric families under OpenTelemetry's names. Prometheus and OTLP render the same ones.

Each replica reports what it folded itself; the sum over replicas is the whole (docs/signals.md).
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from brownout.telemetry.sketch import value_of
from brownout.wire.telemetry import OK, OTHER, AttemptKey, EvaluationKey, RequestKey, RequestTotals
from controlplane.telemetry.fold import Counted
from controlplane.telemetry.points import by_spender

MAX_SERIES = 1_000
"""Of each kind and environment in one process; further ones are exported together as `(other)` (the API has them all)."""

BOUNDS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Bucket bounds that OpenTelemetry's semantic conventions advise for generative AI."""

MODEL = "gen_ai.request.model"
OUTCOMES = ("unanswered", "provisional", "shed", "stopped", "queued", "abandoned")

Labels = Mapping[str, str]


class Distribution(NamedTuple):
    """`counts` has one entry a bound and one for what is above the last."""

    counts: Sequence[int]
    total: float
    n: int


class Family(NamedTuple):
    """`unit` is UCUM: `s`, `{request}`, `{token}`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    description: str
    points: Sequence[tuple[Labels, float | Distribution]]


class Exported:
    """Totals since this process started, by environment and series: no environment takes another's room."""

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self._max_series = max_series
        self._requests: dict[str, dict[RequestKey, RequestTotals]] = {}
        self._evaluations: dict[str, dict[EvaluationKey, int]] = {}
        self._dropped: dict[str, int] = {}

    def add(self, environment: str, counted: Counted) -> None:
        requests = self._requests.setdefault(environment, {})
        for key, totals in counted.requests.items():
            name = key if key in requests or len(requests) < self._max_series else RequestKey(OTHER, "", "", "")
            known = requests.get(name)
            requests[name] = known.plus(totals) if known else totals
        evaluations = self._evaluations.setdefault(environment, {})
        for evaluation, n in counted.evaluations.items():
            full = evaluation not in evaluations and len(evaluations) >= self._max_series
            place = EvaluationKey(OTHER, "", "") if full else evaluation
            evaluations[place] = evaluations.get(place, 0) + n
        self._dropped[environment] = self._dropped.get(environment, 0) + counted.dropped

    def families(
        self,
        environments: Iterable[str],
        live: Mapping[str, int],
        lagging: Mapping[str, int],
        refused: Mapping[tuple[str, str], int] | None = None,
    ) -> list[Family]:
        """Everything about `environments`; `live` and `lagging` count their instances."""
        shown = set(environments)
        requests = [
            (_labels(env, key), totals)
            for env, series in self._requests.items() if env in shown
            for key, totals in series.items()
        ]  # fmt: skip
        return [
            _gauge("brownout.fleet.live", "{instance}", "Instances heard of lately.", live),
            _gauge("brownout.fleet.lagging", "{instance}", "Live instances that stay behind the head.", lagging),
            Family(
                "feature_flag.evaluations", "counter", "{evaluation}", "Evaluated flags.",
                [
                    (
                        {"brownout.environment": env, "feature_flag.key": key.flag,
                         "feature_flag.result.variant": key.variant, "feature_flag.result.reason": key.reason.lower()},
                        n,
                    )
                    for env, series in self._evaluations.items() if env in shown
                    for key, n in series.items()
                ],
            ),
            _counter("brownout.requests", "{request}", "Recorded requests.", [(labels, t.requests) for labels, t in requests]),
            _counter(
                "brownout.request.errors", "{request}", "Failed requests by class.",
                [({**labels, "error.type": name}, n) for labels, t in requests for name, n in t.errors.items()],
            ),
            _counter(
                "brownout.request.fallbacks", "{request}", "Requests answered by a rung instead of the model.",
                [({**labels, "brownout.rung": name}, n) for labels, t in requests for name, n in t.fallbacks.items()],
            ),
            _counter(
                "brownout.request.answered", "{request}", "Requests by the rung that answered; primary is the policy's own model.",
                [
                    ({**labels, "brownout.rung": name.partition(":")[0], "brownout.target": name.partition(":")[2]}, rung.served)
                    for labels, t in requests for name, rung in t.rungs.items()
                ],
            ),
            _counter(
                "brownout.request.outcomes", "{request}", "Requests by what else became of them.",
                [({**labels, "brownout.outcome": name}, getattr(t, name))
                 for labels, t in requests for name in OUTCOMES if getattr(t, name)],
            ),
            _counter(
                "brownout.attempts", "{attempt}", "Calls to models, by error class; empty where they answered.",
                [({**_called(labels, key), "error.type": "" if name == OK else name}, n)
                 for labels, t in requests for key, each in t.attempts.items() for name, n in each.outcomes.items()],
            ),
            _counter(
                "brownout.attempt.retries", "{attempt}", "Calls to models that repeated one.",
                [(_called(labels, key), each.retries) for labels, t in requests for key, each in t.attempts.items()],
            ),
            Family(
                "brownout.attempt.duration", "histogram", "s", "How long calls to models took.",
                [(_called(labels, key), _distribution(each.duration))
                 for labels, t in requests for key, each in t.attempts.items() if each.duration],
            ),
            _counter("brownout.request.refusals", "{request}", "Refused requests.", [(labels, t.refusals) for labels, t in requests]),
            _counter(
                "gen_ai.client.token.usage", "{token}", "Tokens in and out, of the model that spent them.",
                _tokens(requests),
            ),
            Family(
                "gen_ai.client.operation.duration", "histogram", "s", "How long requests took.",
                [(labels, _distribution(t.duration)) for labels, t in requests],
            ),
            Family(
                "gen_ai.client.operation.time_to_first_chunk", "histogram", "s", "How long until the first token.",
                [(labels, _distribution(t.time_to_first_token)) for labels, t in requests if t.time_to_first_token],
            ),
            Family(
                "brownout.telemetry.dropped", "counter", "{item}", "What instances could not count under its own labels.",
                [({"brownout.environment": env}, n) for env, n in self._dropped.items() if env in shown],
            ),
            _counter(
                "brownout.telemetry.refused", "{message}", "Messages of SDKs that were not counted, by reason.",
                [
                    ({"brownout.environment": env, "brownout.reason": reason}, n)
                    for (env, reason), n in (refused or {}).items() if env in shown
                ],
            ),
        ]  # fmt: skip


def _tokens(requests: Iterable[tuple[Labels, RequestTotals]]) -> list[tuple[Labels, float | Distribution]]:
    """Two series of the same labels, of a model as assigned and as a fallback, are one."""
    found: dict[tuple[tuple[str, str], ...], float] = {}
    for labels, totals in requests:
        for model, spent in by_spender(labels[MODEL], totals).items():
            for name, n in (("input", spent.input_tokens), ("output", spent.output_tokens)):
                point = tuple({**labels, MODEL: model, "gen_ai.token.type": name}.items())
                found[point] = found.get(point, 0) + n
    return [(dict(point), n) for point, n in found.items()]


def _called(labels: Labels, key: AttemptKey) -> Labels:
    """Of a call: the request's labels, the provider and the model that was called."""
    return {**labels, "brownout.assigned_model": labels[MODEL], "gen_ai.provider.name": key.provider, MODEL: key.model}


def _labels(environment: str, key: RequestKey) -> Labels:
    return {
        "brownout.environment": environment,
        "brownout.request_class": key.request_class,
        MODEL: key.model,
        "feature_flag.result.variant": key.variant,
        "brownout.safe_mode": key.safe_mode,
        **({"brownout.drill": key.drill} if key.drill else {}),
        **({"brownout.prompt": key.prompt} if key.prompt else {}),
    }


def _counter(name: str, unit: str, description: str, points: Sequence[tuple[Labels, float | Distribution]]) -> Family:
    return Family(name, "counter", unit, description, points)


def _gauge(name: str, unit: str, description: str, values: Mapping[str, int]) -> Family:
    points = [({"brownout.environment": environment}, n) for environment, n in values.items()]
    return Family(name, "gauge", unit, description, points)


def _distribution(sketch: Mapping[int, int]) -> Distribution:
    """A sketch of milliseconds in buckets of seconds."""
    counts = [0] * (len(BOUNDS_S) + 1)
    total = 0.0
    for bucket, n in sketch.items():
        seconds = value_of(bucket) / 1000
        counts[bisect_left(BOUNDS_S, seconds)] += n
        total += seconds * n
    return Distribution(counts, total, sum(counts))

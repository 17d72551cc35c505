"""Fleet, signals and their events over HTTP, fed through a real NATS by instances made of plain messages."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx
import msgspec
import nats
import pytest
from nats.aio.client import Client

from brownout.model import levels
from brownout.model.levels import Added
from brownout.runner import Failed, Output, Runner
from brownout.telemetry.counters import Telemetry
from brownout.telemetry.requests import Report
from brownout.wire import Operation, Presence, Subjects
from brownout.wire.telemetry import EvaluationKey, RequestKey
from controlplane.access.actor import ANY_ENVIRONMENT, Role, system_actor
from controlplane.app import create_app, open_services
from controlplane.embedded.nats import EmbeddedNats
from controlplane.errors import InvalidInputError
from controlplane.http.warnings import warnings_of
from controlplane.services import Services
from controlplane.settings import Secret, Settings
from controlplane.telemetry import series
from controlplane.telemetry.fleet_tables import known_instances
from controlplane.telemetry.values import Chart, FlagUse, FleetSummary, Instances, RefusedList, SignalsSummary, Spread
from sdk.tests.runner import served

pytestmark = pytest.mark.anyio

PRICES = '{"haiku": {"input_per_million": 1.0, "output_per_million": 5.0}}'


class Plane(NamedTuple):
    services: Services
    http: httpx.AsyncClient
    nats: Client
    environment: str

    async def get(self, path: str, type_: Any, **params: Any) -> Any:
        response = await self.http.get(f"/api/v1/environments/{self.environment}{path}", params=params)
        assert response.status_code == 200, response.text
        return msgspec.json.decode(response.content, type=type_)

    def count(self, now: datetime, *, minutes_ago: int = 0) -> None:
        """It is `now`, and stays it; what is reported was counted so long ago."""
        object.__setattr__(self.services, "clock", _Standing(now))  # what the API takes for the end of a chart
        self.services.telemetry.signals._clock = _Standing(now)
        self.services.telemetry.ingest._clock = _Standing(now - timedelta(minutes=minutes_ago))

    async def report(self, n: int) -> None:
        """So many requests of one class, half of them refused."""
        telemetry = Telemetry("i-1", "support")
        for i in range(n):
            telemetry.record(
                RequestKey("support-reply", "haiku", "small", ""), Report(refused=i % 2 == 0, input_tokens=1000)
            )
        message = telemetry.message(final=True)
        assert message is not None
        await self.hand_over(message)

    async def hand_over(self, message: bytes, instance: str = "i-1") -> bytes:
        """Sends the last message of an instance, and returns what it is told once that is written down."""
        subjects = Subjects(self.environment)
        answers = await self.nats.subscribe(subjects.acknowledgement("key", instance))
        await self.nats.publish(subjects.telemetry("key", instance), message, reply="asks")
        answer = await answers.next_msg(10)
        await answers.unsubscribe()
        return answer.data

    async def present(
        self,
        instance: str,
        revision: int,
        *,
        epoch: int = 0,
        closing: bool = False,
        clock_skew_ms: int = 0,
        schema_level: int = 1,
    ) -> None:
        now = int(time.time() * 1000)
        presence = Presence(
            instance,
            "support",
            "0.1.0",
            epoch or self.epoch,
            revision,
            "LIVE",
            0.0,
            now,
            applied_at=now,
            closing=closing,
            clock_skew_ms=clock_skew_ms,
            schema_level=schema_level,
        )
        await self.nats.publish(f"bot.{self.environment}.key.{instance}.p", msgspec.json.encode(presence))
        await self.nats.flush()

    @property
    def epoch(self) -> int:
        return self.services.telemetry.fleet.summary(system_actor("test"), self.environment).epoch

    async def commit(self, key: str) -> int:
        spec = b'{"type":"boolean","variants":{"on":true,"off":false},"off_variant":"off","default":"on"}'
        commit = await self.services.changes.commit(
            system_actor("test"), self.environment, [Operation("put", "flag", key, msgspec.Raw(spec))], f"add {key}"
        )
        return commit.revision


async def eventually(check: Callable[[], Awaitable[bool]], timeout_s: float = 15) -> None:
    async with asyncio.timeout(timeout_s):
        while not await check():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.fixture
async def plane(database_url: str, nats_server: EmbeddedNats, unique_environment: str) -> AsyncIterator[Plane]:
    settings = Settings(
        database_url=Secret(database_url),
        secret_key=Secret("a secret of the tests, long enough to be one"),
        nats_url=nats_server.url,
        prices=PRICES,
    )
    async with open_services(settings) as services:
        await services.store.create_environment(unique_environment, "Test")
        connection = await nats.connect(nats_server.url)
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            token = await services.access.tokens.create_service(
                system_actor("test"), "test", {ANY_ENVIRONMENT: [Role.VIEWER.value]}
            )
            http.headers["Authorization"] = f"Bearer {token.token}"
            yield Plane(services, http, connection, unique_environment)
        await connection.close()


async def test_a_commit_is_timed_until_the_last_instance_has_it(plane: Plane) -> None:
    first = await plane.commit("one")
    await eventually(lambda: _head_is(plane, first))
    for i in range(4):
        await plane.present(f"i-{i}", first)
    second = await plane.commit("two")
    await eventually(lambda: _head_is(plane, second))
    for i in range(3):
        await plane.present(f"i-{i}", second)

    behind: Spread = await plane.get(f"/fleet/convergence/{second}", Spread, percent=75, timeout_s=10)
    assert (behind.live, behind.applied, behind.laggards) == (4, 3, ("i-3",))
    assert behind.took_50_ms is not None
    assert behind.took_100_ms is None

    waiting = asyncio.create_task(plane.get(f"/fleet/convergence/{second}", Spread, percent=100, timeout_s=10))
    await asyncio.sleep(0)
    await plane.present("i-3", second)
    done = await waiting
    assert (done.percent, done.laggards) == (100.0, ())
    assert done.took_100_ms >= done.took_50_ms

    async def kept() -> bool:
        found = await plane.services.telemetry.fleet.deliveries(system_actor("t"), plane.environment, [second])
        return second in found and found[second].took_100_ms is not None

    await eventually(kept)


async def _head_is(plane: Plane, revision: int) -> bool:
    return bool((await plane.get("/fleet", FleetSummary)).published == revision)


async def test_instances_are_listed_and_say_goodbye(plane: Plane) -> None:
    revision = await plane.commit("one")
    await eventually(lambda: _head_is(plane, revision))
    for name in ("b", "a", "c"):
        await plane.present(name, revision)
    await plane.present("c", revision, closing=True)

    async def settled() -> bool:
        found: Instances = await plane.get("/fleet/instances", Instances)
        return [(one.instance, one.live) for one in found.items] == [("a", True), ("b", True), ("c", False)]

    await eventually(settled)
    page: Instances = await plane.get("/fleet/instances", Instances, limit=2)
    rest: Instances = await plane.get("/fleet/instances", Instances, limit=2, after=page.next)
    assert [one.instance for one in (*page.items, *rest.items)] == ["a", "b", "c"]
    assert rest.next is None


async def test_an_instance_that_holds_nothing_yet_is_shown_at_the_beginning(plane: Plane) -> None:
    revision = await plane.commit("one")
    await eventually(lambda: _head_is(plane, revision))
    await plane.present("new", -1)

    async def known() -> bool:
        found: Instances = await plane.get("/fleet/instances", Instances)
        return [(one.instance, one.revision, one.behind) for one in found.items] == [("new", 0, revision)]

    await eventually(known)
    assert (await plane.get("/fleet/refused", RefusedList)).items == []


async def test_an_instance_on_a_host_with_a_wrong_clock_is_shown(plane: Plane) -> None:
    revision = await plane.commit("one")
    await eventually(lambda: _head_is(plane, revision))
    await plane.present("fast", revision, clock_skew_ms=3_600_000)
    await plane.present("right", revision)

    async def known() -> bool:
        found: Instances = await plane.get("/fleet/instances", Instances)
        return [(one.instance, one.clock_skew_s) for one in found.items] == [("fast", 3600.0), ("right", 0.0)]

    await eventually(known)


async def test_who_cannot_read_a_commit_is_named_and_safe_mode_is_refused(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer version: level 2 brought a profile's banner, and a flag's owner."""
    added = (Added(2, "safe_mode_profile", ("banner",)), Added(2, "flag", ("owner",)))
    monkeypatch.setattr(levels, "ADDED", added)
    revision = await plane.commit("one")
    await eventually(lambda: _head_is(plane, revision))
    await plane.present("old", revision)
    await plane.present("new", revision, schema_level=2)

    async def known() -> bool:
        found: Instances = await plane.get("/fleet/instances", Instances)
        return [(one.instance, one.schema_level) for one in found.items] == [("new", 2), ("old", 1)]

    await eventually(known)
    banner = Operation("put", "safe_mode_profile", "loud", msgspec.Raw(b'{"banner":{"text":"Slow today"}}'))
    plain = Operation("put", "safe_mode_profile", "plain", msgspec.Raw(b'{"max_output_tokens":100}'))
    spec = b'{"type":"boolean","variants":{"on":true,"off":false},"off_variant":"off","default":"on","owner":"me"}'
    owned = Operation("put", "flag", "owned", msgspec.Raw(spec))
    actor, changes = system_actor("test"), plane.services.changes

    with pytest.raises(InvalidInputError) as refused:
        await changes.commit(actor, plane.environment, [plain, banner], "safe mode")
    assert [(fault.code, fault.pointer) for fault in refused.value.faults] == [
        ("unread_by_fleet", "/ops/1/spec/banner")
    ]
    assert "1 live instance runs an SDK that cannot read /banner of safe mode profile loud: old." in str(refused.value)
    preview = await changes.preview(actor, plane.environment, [banner])
    assert [fault.code for fault in preview.faults] == ["unread_by_fleet"]
    assert (await changes.commit(actor, plane.environment, [plain], "safe mode")).changes

    assert (await changes.commit(actor, plane.environment, [owned], "a flag")).changes
    assert await warnings_of(plane.services, actor, plane.environment, [owned]) == (
        "1 live instance runs an SDK that cannot read /owner of flag owned: old; they serve the caller's default instead",
    )

    async def written() -> bool:
        async with plane.services.database.reading() as connection:
            rows = await known_instances(connection, datetime.now(UTC) - timedelta(hours=1))
        levels_of = {seen.instance: seen.schema_level for environment, seen in rows if environment == plane.environment}
        return levels_of == {"old": 1, "new": 2}

    await eventually(written)  # a replica that starts now knows it too
    await plane.present("old", revision, closing=True)

    async def gone() -> bool:
        return plane.services.telemetry.fleet.older(plane.environment, 2) == []

    await eventually(gone)
    assert (await changes.commit(actor, plane.environment, [banner], "safe mode")).changes
    assert await warnings_of(plane.services, actor, plane.environment, [owned]) == ()


async def test_the_event_stream_tells_every_viewer_the_same(plane: Plane) -> None:
    actor = system_actor("test")
    viewers = [plane.services.telemetry.fleet.events(actor, plane.environment) for _ in range(3)]
    before = [await anext(viewer) for viewer in viewers]
    await plane.present("i-1", 1, epoch=1)
    async with asyncio.timeout(10):
        after = [await anext(viewer) for viewer in viewers]

    assert len({id(event) for event in before}) == 1
    assert msgspec.json.decode(after[0], type=FleetSummary).live == 1
    for viewer in viewers:
        await viewer.aclose()  # type: ignore[attr-defined]


async def test_signals_reach_charts_summary_and_flags(plane: Plane) -> None:
    revision = await plane.commit("web-search")
    telemetry = Telemetry("i-1", "support")
    telemetry.count_evaluation(EvaluationKey("web-search", "on", "STATIC"), 7)
    for i in range(20):
        telemetry.record(
            RequestKey("support-reply", "haiku", "small", ""),
            Report(error_class="timeout" if i < 5 else None, rung="cache" if i < 2 else None, input_tokens=1000,
                   output_tokens=100, duration_ms=500.0, quality=0.8),
        )  # fmt: skip
    telemetry.record(RequestKey("summarise", "big", "big", "outage"), Report(refused=True))
    telemetry.track("thumbs-up", attributes={"plan": "pro"})
    message = telemetry.message(final=True)
    assert message is not None
    plane.count(half_past(), minutes_ago=2)
    assert await plane.hand_over(message) == b"+"

    chart: Chart = await plane.get("/signals", Chart)
    assert [line.labels["request_class"] for line in chart.series] == ["support-reply", "summarise"]
    line = chart.series[0]
    assert (line.requests, line.totals["error_share"], line.totals["fallback_share"]) == (20, 0.25, 0.1)
    assert line.breakdown == {"error.timeout": 0.25, "fallback.cache": 0.1}
    assert line.totals["duration_p95_ms"] == pytest.approx(500, rel=0.03)
    assert sum(value or 0 for value in line.values["cost_per_min"]) == pytest.approx(20 * 0.0015)
    assert sum(value or 0 for value in line.values["requests_per_min"]) == 20
    assert [(mark.kind, mark.revision) for mark in chart.marks] == [("commit", revision)]

    only: Chart = await plane.get("/signals", Chart, by="model,variant,safe_mode", safe_mode="outage")
    assert [line.labels for line in only.series] == [{"model": "big", "variant": "big", "safe_mode": "outage"}]
    custom: Chart = await plane.get("/signals/custom", Chart)
    assert [line.labels for line in custom.series] == [{"name": "thumbs-up", "attributes": "plan=pro"}]
    used: FlagUse = await plane.get("/signals/flags/web-search", FlagUse)
    assert [(one.variant, one.reason, one.evaluations) for one in used.variants] == [("on", "STATIC", 7)]


async def test_what_a_runner_did_reaches_the_api_the_console_and_prometheus(plane: Plane) -> None:
    """Twenty requests to a model that is down: the fallback answers, and its tokens and cost are its own."""
    revision = await plane.commit("one")
    await eventually(lambda: _head_is(plane, revision))
    client = served.Client(served.made(served.TO_SPARE))
    runner = Runner(client, {"a": _down, "b": _spare})
    for number in range(20):
        runner.run("reply", {}, "hello", drill="spring" if number >= 15 else "")
    message = client._collect(True)
    assert message is not None
    plane.count(half_past(), minutes_ago=2)
    assert await plane.hand_over(message) == b"+"

    chart: Chart = await plane.get("/signals", Chart)
    (line,) = chart.series
    assert (line.requests, line.totals["fallback_share"], line.totals["unanswered_share"]) == (20, 1.0, 0.0)
    (answered,) = chart.answered
    assert (answered.rung, answered.target, answered.requests, answered.completion_share) == ("model", "spare", 20, 1.0)
    spare, main = chart.attempts
    assert (spare.model, spare.attempts, spare.error_share, spare.input_tokens) == ("s-1", 20, 0.0, 2_000)
    assert (main.model, main.error_share, main.input_tokens, main.cost) == ("m-1", 1.0, 0, None)
    assert main.attempts == 5, "after a burst of failures the breaker lets none through"
    assert line.totals["attempts_per_request"] == 1.25

    models: Chart = await plane.get("/signals", Chart, by="model")
    tokens = {each.labels["model"]: sum(n or 0 for n in each.values["tokens_per_min"]) for each in models.series}
    assert tokens == {"m-1": 0.0, "s-1": 2_500.0}
    real: Chart = await plane.get("/signals", Chart, drill="")
    assert [each.requests for each in real.series] == [15]
    fine: Chart = await plane.get("/signals", Chart, step_s=10)
    assert (fine.step_s, sum(each.requests for each in fine.series)) == (10, 20)
    refused = await plane.http.get(f"/api/v1/environments/{plane.environment}/signals", params={"step_s": 20})
    assert refused.status_code == 422

    metrics = (await plane.http.get("/api/v1/metrics")).text
    own = [line for line in metrics.splitlines() if plane.environment in line and 'gen_ai_request_model="s-1"' in line]
    assert any(line.startswith("brownout_attempts_total") and line.endswith(" 15.0") for line in own)
    assert any(line.startswith("gen_ai_client_token_usage") and line.endswith(" 1500.0") for line in own)
    assert "brownout_request_answered_total{" in metrics

    page = (await plane.http.get(f"/e/{plane.environment}/signals")).text
    assert "Answered by" in page
    assert "s-1" in page


def _down(call: object, question: str) -> Output:
    raise Failed("overloaded")


def _spare(call: object, question: str) -> Output:
    return Output("from the spare", usage=(100, 25))


async def test_the_summary_is_of_whole_minutes(plane: Plane) -> None:
    telemetry = Telemetry("i-1", "support")
    telemetry.record(RequestKey("support-reply", "haiku", "small", ""), Report(duration_ms=100.0))
    signals = plane.services.telemetry.signals
    plane.count(half_past(), minutes_ago=2)
    message = telemetry.message(final=True)
    assert message is not None
    await plane.hand_over(message)

    summary: SignalsSummary = await plane.get("/signals/summary", SignalsSummary)
    assert [one.request_class for one in summary.classes] == ["support-reply"]
    one = summary.classes[0]
    assert one.now["requests_per_min"] == 0.5, "of the two minutes since there was anything to count"
    assert len(one.sparks["requests_per_min"]) == 60
    assert one.sparks["requests_per_min"].count(1.0) == 1
    assert await signals.summary(system_actor("t"), plane.environment) == summary


async def test_the_summary_looks_back_five_minutes_at_most(plane: Plane) -> None:
    now = half_past()
    for ago, n in ((10, 50), (2, 4)):
        plane.count(now, minutes_ago=ago)
        await plane.report(n)

    summary: SignalsSummary = await plane.get("/signals/summary", SignalsSummary)
    assert summary.classes[0].now["requests_per_min"] == 0.8


async def test_a_rate_is_of_the_minutes_since_the_first_request(plane: Plane) -> None:
    now = half_past()
    for ago, n in ((4, 6), (1, 4)):
        plane.count(now, minutes_ago=ago)
        await plane.report(n)

    chart: Chart = await plane.get("/signals", Chart)
    line = chart.series[0]
    assert (line.requests, line.totals["requests_per_min"], line.totals["tokens_per_min"]) == (10, 2.5, 2500.0)
    assert line.totals["cost_per_min"] == pytest.approx(0.0025)
    only: Chart = await plane.get("/signals", Chart, request_class="support-reply")
    assert only.series[0].totals == line.totals


async def test_a_minute_that_is_not_over_has_shares_but_no_rates(plane: Plane) -> None:
    plane.count(half_past())
    await plane.report(10)

    chart: Chart = await plane.get("/signals", Chart)
    line = chart.series[0]
    assert line.requests == 10
    for rate in ("requests_per_min", "tokens_per_min", "cost_per_min"):
        assert set(line.values[rate]) == {None}
        assert line.totals[rate] is None
    assert 0.5 in line.values["refusal_share"]


def half_past() -> datetime:
    """In the middle of the next minute: what Postgres dates has happened by then."""
    return series.floor(datetime.now(UTC), series.FINE_S) + timedelta(seconds=90)


class _Standing:
    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at


@pytest.mark.parametrize(
    "query", [{"by": "shoe_size"}, {"since": "2020-01-01T00:00:00Z"}, {"until": "0001-01-01T00:00:00Z"}]
)
async def test_a_chart_that_makes_no_sense_is_refused(plane: Plane, query: dict[str, str]) -> None:
    response = await plane.http.get(f"/api/v1/environments/{plane.environment}/signals", params=query)

    assert response.status_code == 422
    assert response.json()["code"] == "invalid"


async def test_what_was_refused_is_told_by_key_and_reason(plane: Plane) -> None:
    for _ in range(3):
        await plane.nats.publish(Subjects(plane.environment).telemetry("key", "i-1"), b"noise")

    async def told() -> bool:
        found: RefusedList = await plane.get("/fleet/refused", RefusedList)
        return [(one.key, one.reason, one.messages, one.instance) for one in found.items] == [
            ("key", "malformed", 3, "i-1")
        ]

    await eventually(told)
    text = (await plane.http.get("/api/v1/metrics")).text
    labels = f'brownout_environment="{plane.environment}",brownout_reason="malformed"'
    assert f"brownout_telemetry_refused_total{{{labels}}} 3.0" in text

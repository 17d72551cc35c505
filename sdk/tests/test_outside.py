"""Safe mode from outside of the log: it is joined with the log's, so that it can only tighten."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brownout import wire
from brownout._sync.clock import SignedTime
from brownout._sync.host import HostSwitch
from brownout._sync.outside import Outside
from brownout._sync.replica import Outcome, Replica
from brownout._sync.serving import Serving
from brownout.evaluation.compile import Compiled
from brownout.evaluation.policy import Policy
from brownout.model.parse import encode
from brownout.model.resources import SafeModeProfile
from brownout.model.strictest import STRICTEST, STRICTEST_KEY
from brownout.status import Counters
from brownout.wire.bundle import Signed
from controlplane.safemode.profiles import STANDARD
from sdk.tests.history import History, delete, put
from sdk.tests.test_safe_mode_laws import reachable, within

NOON = 1_772_366_400_000
MINUTE, HOUR = 60_000, 3_600_000
ROUTE: dict[str, Any] = {
    "type": "model_route",
    "enabled": True,
    "variants": {
        "one": {
            "targets": {
                "main": {"provider": "openai", "model": "m", "params": {"temperature": 1.0, "max_output_tokens": 900}},
                "spare": {"provider": "anthropic", "model": "n"},
            },
            "primary": "main",
        }
    },
    "off_variant": "one",
    "default": "one",
}
LADDER: dict[str, Any] = {
    "type": "fallback_ladder",
    "enabled": True,
    "variants": {"one": {"rungs": [{"type": "model", "target": "spare"}, {"type": "human_review", "queue": "q"}]}},
    "off_variant": "one",
    "default": "one",
}
PROFILES = {
    "calm": SafeModeProfile(max_output_tokens=300, exclude_tools=("shell",), shed_bp={"sheddable": 100}),
    "no-openai": SafeModeProfile(exclude_providers=("openai",), max_attempts=2, shed_bp={"sheddable": 5_000}),
}


class World:
    """A control plane's history, and a process that follows it with clocks that a test moves."""

    def __init__(self, tmp_path: Path | None = None) -> None:
        self.now = NOON
        self.uptime = 0
        self.history = History("production", now_ms=lambda: self.now)
        self.file = tmp_path / "safe-mode" if tmp_path else None
        self.variable = ""
        self.logged: list[Signed] = []
        self.said: list[Signed] = []
        self.history.commit(put("route", encoded(ROUTE)), put("ladder", encoded(LADDER)))
        reply = {"criticality": "sheddable", "model": "route", "ladder": "ladder", "sensitive": True}
        self.history.commit(put("reply", encoded(reply), "request_class"))
        self.history.commit(*[put(key, encode(spec), "safe_mode_profile") for key, spec in PROFILES.items()])
        self.start()

    def start(self) -> None:
        time = SignedTime(uptime_ms=lambda: self.uptime, wall_ms=lambda: self.now)
        outside = Outside(time, HostSwitch(self.variable, self.file))
        self.serving = Serving(
            "production", Compiled.load("production", -1, {}, service="chat"), lambda _: None, lambda _: None, time.now,
            outside=outside,
        )  # fmt: skip
        self.replica = Replica(
            "production", self.history.verifier(), self.serving, Counters(), time=time, outside=outside
        )
        self.replica.restore(*self.history.snapshot())

    def pass_time(self, ms: int) -> None:
        self.now += ms
        self.uptime += max(ms, 0)
        self.beat()

    def beat(self) -> None:
        self.replica.hear(self.history.heartbeat())
        self.replica.look()

    def commit(self, *operations: wire.Operation) -> Signed:
        message = self.history.commit(*operations)
        self.replica.offer(message)
        return message

    def say(self, what: str, key: str = "k", **fields: Any) -> Outcome:
        return self.replica.hear_emergency(self.emergency(what, key, **fields))

    def emergency(self, what: str, key: str = "k", at: int | None = None, **fields: Any) -> Signed:
        said = wire.Emergency(1, "production", key, what, self.now if at is None else at, **fields)  # type: ignore[arg-type]
        return self.history.sign("emergency", msgspec.json.encode(said))

    @property
    def policy(self) -> Policy:
        return self.serving.compiled.policy("reply")

    @property
    def origins(self) -> list[tuple[str, str]]:
        return [(one.key, one.origin) for one in self.policy.safe_mode.applied]


def encoded(spec: object) -> bytes:
    return msgspec.json.encode(spec)


def activation(profile: str = "calm", *, began: int = NOON, lasts: int = HOUR // 2, **fields: Any) -> msgspec.Raw:
    spec = {
        "profile": profile,
        "reason": "it invents refunds",
        "actor": "ann@example.com",
        "activated_at": instant(began),
        "expires_at": instant(began + lasts),
        **fields,
    }
    return msgspec.Raw(encoded(spec))


def instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def test_an_emergency_tightens_at_once_and_says_where_it_comes_from() -> None:
    world = World()
    assert world.policy.safe_mode.active is False
    assert world.say("on", spec=activation("no-openai")) is Outcome.APPLIED
    policy = world.policy
    assert policy.model is not None
    assert policy.model.provider == "anthropic"
    (applied,) = policy.safe_mode.applied
    assert (applied.key, applied.origin, applied.reason) == ("k", "emergency", "it invents refunds")
    assert applied.until == datetime.fromtimestamp(NOON / 1000, UTC) + timedelta(minutes=30)
    assert [one.key for one in world.replica.outside.applied] == ["k"]


def test_it_ends_by_itself_and_never_later_than_an_hour_after_it_was_signed() -> None:
    for fields in ({"lasts": 10 * MINUTE}, {"lasts": 9 * HOUR}, {"lasts": MINUTE, "on_expiry": "hold"}):
        world = World()
        world.say("on", spec=activation(**fields))  # type: ignore[arg-type]
        lasts = 10 * MINUTE if fields["lasts"] == 10 * MINUTE else HOUR
        world.pass_time(lasts - MINUTE)
        assert world.policy.safe_mode.active
        world.pass_time(MINUTE)
        assert not world.policy.safe_mode.active
        world.say("on", spec=activation(**fields), at=NOON)  # type: ignore[arg-type]
        assert not world.policy.safe_mode.active


def test_an_operator_renews_it_by_a_newer_message() -> None:
    world = World()
    world.say("on", spec=activation(lasts=HOUR))
    world.pass_time(50 * MINUTE)
    assert world.say("on", spec=activation(lasts=2 * HOUR)) is Outcome.APPLIED
    world.pass_time(50 * MINUTE)
    assert world.policy.safe_mode.active
    assert world.say("on", spec=activation(lasts=2 * HOUR), at=NOON) is Outcome.DROPPED
    world.pass_time(10 * MINUTE)
    assert not world.policy.safe_mode.active


def test_a_lift_is_final_in_whatever_order_it_arrives() -> None:
    world = World()
    on, off = world.emergency("on", spec=activation()), world.emergency("off")
    for order in ((on, off, on), (off, on)):
        world.start()
        for message in order:
            world.replica.hear_emergency(message)
        assert not world.policy.safe_mode.active


def test_once_the_log_has_it_the_log_alone_decides() -> None:
    world = World()
    message = world.emergency("on", spec=activation())
    world.replica.hear_emergency(message)
    world.commit(put("k", bytes(activation()), "safe_mode_activation"))
    assert world.origins == [("k", "log")]
    world.commit(delete("k", "safe_mode_activation"))
    world.replica.hear_emergency(message)
    assert world.origins == []


def test_one_that_came_by_a_snapshot_and_went_is_known_to_be_settled() -> None:
    world = World()
    message = world.emergency("on", spec=activation())
    world.history.commit(put("k", bytes(activation()), "safe_mode_activation"))
    world.history.commit(delete("k", "safe_mode_activation"))
    settled = world.emergency("settled", rev=world.history.revision - 1)
    world.replica.hear_emergency(message)
    world.replica.hear_emergency(settled)
    assert world.origins == [("k", "emergency")], "this process is not there yet"
    world.start()
    world.replica.hear_emergency(message)
    world.replica.hear_emergency(settled)
    assert world.origins == []


def test_what_is_forged_foreign_early_or_unreadable_is_not_taken() -> None:
    world = World()
    genuine = world.emergency("on", spec=activation())
    foreign = msgspec.json.encode(wire.Emergency(1, "staging", "k", "on", NOON, spec=activation()))
    newer = msgspec.json.encode({"v": 2, "env": "production", "key": "k", "what": "on", "at": NOON})
    bad = (
        Signed(genuine.payload.replace(b"refunds", b"returns"), genuine.signature),
        Signed(genuine.payload, ""),
        world.history.sign("log", genuine.payload),
        world.history.sign("emergency", foreign),
        world.history.sign("emergency", newer),
        world.history.sign("emergency", b"{}"),
        world.history.sign("emergency", b" " * 40_000),
    )
    for message in bad:
        assert world.replica.hear_emergency(message) is Outcome.DROPPED
    counters = world.replica.counters
    assert counters.bad_signatures + counters.malformed == len(bad)
    early = world.emergency("on", spec=activation(), at=NOON + HOUR)
    world.replica.hear_emergency(early)
    assert not world.policy.safe_mode.active


def test_a_profile_or_a_cohort_that_is_not_held_is_the_strictest() -> None:
    world = World()
    world.say("on", spec=activation("calm", scope={"cohorts": ["unheard-of"]}))
    assert world.policy.safe_mode.active
    world.say("on", "other", spec=activation("unheard-of"))
    assert world.policy.model is None


def test_only_so_many_apply_at_once() -> None:
    world = World()
    for number in range(70):
        world.say("on", f"k-{number}", spec=activation())
    assert len(world.policy.safe_mode.activations) == 64
    world.commit(put("late", bytes(activation()), "safe_mode_activation"))
    assert len(world.policy.safe_mode.activations) == 65


def test_what_is_over_or_in_the_log_leaves_room_for_a_new_emergency() -> None:
    for end in ("time", "settled", "off"):
        world = World()
        for number in range(64):
            world.say("on", f"k-{number}", spec=activation())
            if end != "time":
                world.say(end, f"k-{number}")
        if end == "time":
            world.pass_time(HOUR)
        assert world.say("on", "new", spec=activation(began=world.now)) is Outcome.APPLIED, end
        assert [key for key, _ in world.origins] == ["new"], end


def test_the_strictest_profile_is_the_one_that_every_environment_starts_with() -> None:
    assert STANDARD[STRICTEST_KEY] == STRICTEST


def test_the_hosts_file_switches_on_by_existing(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.file is not None
    world.file.write_text("no-openai the bill explodes\nticket 7\n")
    world.pass_time(1_000)
    (applied,) = world.policy.safe_mode.applied
    assert (applied.origin, applied.profile, applied.until) == ("host", "no-openai", None)
    assert applied.reason == "the bill explodes ticket 7"
    world.pass_time(30 * 24 * HOUR)
    assert world.policy.safe_mode.active
    world.file.write_text("unheard-of")
    world.pass_time(1_000)
    assert world.policy.model is None
    world.file.unlink()
    world.pass_time(1_000)
    assert not world.policy.safe_mode.active


def test_the_hosts_file_follows_a_profile_that_the_log_changes(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.file is not None
    world.file.write_text("calm")
    world.pass_time(1_000)
    assert world.policy.tools.exclude == ("shell",)
    world.commit(put("calm", encode(SafeModeProfile(exclude_tools=("mail",))), "safe_mode_profile"))
    assert world.policy.tools.exclude == ("mail",)


@pytest.mark.parametrize("what", ["empty", "folder", "fifo", "link to nowhere", "binary", "large"])
def test_a_host_file_that_is_there_and_says_nothing_is_the_strictest(what: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    file = world.file
    assert file is not None
    match what:
        case "empty":
            file.touch()
        case "folder":
            file.mkdir()
        case "fifo":
            os.mkfifo(file)
        case "link to nowhere":
            file.symlink_to(tmp_path / "nowhere")
        case "binary":
            file.write_bytes(bytes(range(128, 256)))
        case _:
            file.write_bytes(b"x" * 10_000_000)
    world.pass_time(1_000)
    assert world.policy.model is None
    assert world.origins == [("host:file", "host")]


def test_the_hosts_variable_holds_for_the_life_of_the_process() -> None:
    for value, on in (("calm", True), ("", False), ("off", False), ("unheard-of", True)):
        world = World()
        world.variable = value
        world.start()
        world.beat()
        assert world.policy.safe_mode.active is on, value


def test_without_any_configuration_a_policy_is_as_strict_as_the_host_says() -> None:
    time = SignedTime()
    serving = Serving(
        "production", Compiled.load("production", -1, {}), lambda _: None, lambda _: None, time.now,
        outside=Outside(time, HostSwitch("contain")),
    )  # fmt: skip
    assert serving.compiled.policy("reply").safe_mode.active is False
    serving.load(-1, [])
    policy = serving.compiled.policy("reply")
    assert policy.error_code is not None
    assert (policy.safe_mode.profiles, policy.sensitive) == ((STRICTEST_KEY,), "human_review")
    assert policy.tools.exclude == ("*",)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("on"), st.sampled_from("abc"), st.sampled_from(["calm", "no-openai", "gone", "weak"])),
        st.tuples(st.just("off"), st.sampled_from("abc"), st.none()),
        st.tuples(st.just("settled"), st.sampled_from("abc"), st.integers(0, 9)),
        st.tuples(st.just("log on"), st.sampled_from("abc"), st.sampled_from(["calm", "no-openai"])),
        st.tuples(st.just("log off"), st.sampled_from("abc"), st.none()),
        st.tuples(st.just("time"), st.none(), st.integers(-HOUR, 2 * HOUR)),
        st.tuples(st.just("replay"), st.none(), st.integers(0, 20)),
        st.tuples(st.just("restart"), st.none(), st.none()),
        st.tuples(st.just("host"), st.none(), st.sampled_from(["", "calm", "no-openai", "gone"])),
    ),
    max_size=12,
)


@given(steps)
@settings(max_examples=60, deadline=None)
def test_nothing_from_outside_ever_loosens_what_the_log_alone_says(moves: list[tuple[str, Any, Any]]) -> None:
    """Two processes live through the same: one of them hears the log only."""
    world = World()
    said: list[Signed] = []
    on: set[str] = set()
    for what, key, value in moves:
        match what:
            case "on":
                fields: dict[str, Any] = {"profile": msgspec.Raw(b"{}")} if value == "weak" else {}
                spec = activation("calm" if value == "weak" else value, began=world.now)
                said.append(world.emergency("on", key, spec=spec, **fields))
                world.replica.hear_emergency(said[-1])
            case "off" | "settled":
                revision = {"rev": value} if what == "settled" else {}
                said.append(world.emergency(what, key, **revision))
                world.replica.hear_emergency(said[-1])
            case "log on":
                world.commit(put(key, bytes(activation(value, began=world.now)), "safe_mode_activation"))
                on.add(key)
            case "log off" if key in on:
                world.commit(delete(key, "safe_mode_activation"))
                on.discard(key)
            case "time":
                world.pass_time(value)
            case "replay" if value < len(said):
                world.replica.hear_emergency(said[value])
            case "restart":
                world.start()
            case "host":
                world.variable = value
                world.start()
        _never_looser(world)


def _never_looser(world: World) -> None:
    compiled = world.serving.compiled
    alone = Compiled.load("production", compiled.revision, compiled.resources, service="chat")
    alone.set_now(world.serving._now)
    loose, tight = alone.policy("reply"), world.policy
    assert within(tight.budget.per_request.max_output_tokens, loose.budget.per_request.max_output_tokens)
    assert within(tight.retry.max_attempts, loose.retry.max_attempts)
    assert set(tight.tools.exclude) >= set(loose.tools.exclude)
    assert tight.shed_bp >= loose.shed_bp
    assert {target.name for target in reachable(tight)} <= {target.name for target in reachable(loose)}
    assert set(loose.safe_mode.activations) <= set(tight.safe_mode.activations)
    for one in tight.safe_mode.applied:
        if one.origin == "emergency":
            assert one.until is not None
            assert one.until.timestamp() * 1000 > world.serving._now.timestamp() * 1000 - 1

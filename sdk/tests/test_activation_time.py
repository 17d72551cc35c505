"""When activations end, whatever clocks and networks do: never early by the server's time, and late by a bound."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from brownout._sync.clock import AGREE_MS, ESTABLISHED, KEPT, Heard
from brownout._sync.serving import Serving
from brownout.evaluation.compile import Compiled
from brownout.model.resources import ResourceRef
from brownout.wire import Operation
from sdk.tests.test_clock import BEAT, DAY, HOUR, NOON, SECOND, World

Resources = dict[ResourceRef, bytes]
MINUTE = 60 * SECOND
HELD_UP = 15 * SECOND
"""The longest that a message takes here."""


def instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


class Life:
    """A process that serves: from nothing, or from the file that an earlier one left, dated `as_of`."""

    def __init__(self, world: World, resources: Resources, as_of: int) -> None:
        self.clock = world.clock()
        self.serving = Serving("e", Compiled.load("e", 0, {}), lambda _: None, lambda _: None, self.clock.now)
        if as_of:
            self.clock.remember(as_of)
        self.serving.load(1, [[(ref.kind, ref.key, spec) for ref, spec in resources.items()]])
        self.beats = 0

    def apply(self, operations: list[Operation], ts: int) -> None:
        self.serving.apply(operations, self.serving.compiled.revision + 1)
        self.clock.passed(ts)

    def hear(self, ts: int) -> None:
        self.beats += self.clock.hear(ts) is not Heard.REPEAT

    @property
    def active(self) -> set[str]:
        self.serving.expire(self.clock.now())
        return {activation.key for activation in self.serving.compiled.active}


profile = Operation("put", "safe_mode_profile", "calm", msgspec.Raw(b'{"max_attempts":1}'))


def activation(key: str, now: int, lasts: int) -> Operation:
    spec = {
        "profile": "calm",
        "reason": "r",
        "actor": "a",
        "activated_at": instant(now),
        "expires_at": instant(now + lasts),
    }
    return Operation("put", "safe_mode_activation", key, msgspec.Raw(msgspec.json.encode(spec)))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("activate"), st.sampled_from([20 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR])),
        st.tuples(st.just("beat"), st.integers(0, HELD_UP)),
        st.tuples(st.just("run"), st.integers(1, KEPT + ESTABLISHED)),
        st.tuples(st.just("replay"), st.integers(0, 1_000)),
        st.tuples(st.just("wall"), st.sampled_from([0, 3 * SECOND, -3 * SECOND, HOUR, -HOUR, DAY, -DAY])),
        st.tuples(st.just("pass"), st.integers(1, 2 * HOUR)),
        st.tuples(st.just("freeze"), st.integers(1, 2 * HOUR)),
        st.tuples(st.just("restart"), st.booleans()),
    ),
    max_size=30,
)


@given(steps, st.sampled_from([0, 3 * SECOND, HOUR, -HOUR, DAY, -DAY]))
def test_no_activation_ends_early_by_the_servers_time_nor_lasts_longer_than_the_bound(
    taken: list[tuple[str, Any]], wall_error: int
) -> None:
    world = World(wall_error)
    resources: Resources = {ResourceRef("safe_mode_profile", "calm"): b'{"max_attempts":1}'}
    life, ends, sent = Life(world, resources, 0), dict[str, int](), [NOON]
    connected_for = 0
    for what, by in taken:
        if what == "activate":
            key = f"a{len(ends)}"
            ends[key] = world.server + by
            operation = activation(key, world.server, by)
            resources[ResourceRef(operation.kind, key)] = bytes(operation.spec)  # type: ignore[arg-type]
            life.apply([operation], world.server)
        elif what == "beat":
            sent.append(max(world.server, sent[-1] + 1))
            world.pass_(by)
            life.hear(sent[-1])
        elif what == "run":
            for _ in range(by):
                world.pass_(BEAT)
                sent.append(world.server)
                life.hear(world.server)
            connected_for = by
        elif what == "replay":
            life.hear(sent[by % len(sent)])
        elif what == "wall":
            world.wall_error = by
        elif what == "pass":
            world.pass_(by)
        elif what == "freeze":
            world.server += by
        else:
            life = Life(world, resources, sent[-1] if by else 0)
        active = life.active
        if life.beats:
            early = {key for key, end in ends.items() if world.server < end - AGREE_MS and key not in active}
            assert not early
        if what == "run" and connected_for >= KEPT:
            late = {key for key, end in ends.items() if world.server > end + AGREE_MS and key in active}
            assert not late

"""Telemetry and presence that no SDK sends: what a stranger with a key can put on the wire."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from brownout.wire.telemetry import rollout_rule

RULE = rollout_rule("x", 1, 0)
_ARM_TOTALS = [1, {"error": 1}, {}, {}, {}, {}]


class Hostile(NamedTuple):
    name: str
    data: Callable[[str], bytes]
    """For an instance of that name."""
    refused: str = ""
    """The reason; empty: it is tolerated."""


def message(instance: str, **changed: Any) -> bytes:
    """A telemetry message of plain values, so that every one of them can be wrong."""
    now = int(time.time() * 1000)
    fields = {
        "version": 1, "instance": instance, "start": now, "sequence": 1, "service": "s", "sent_at": now,
        "evaluations": {}, "policies": {}, "requests": {}, "custom": {}, "arms": {}, "dropped": 0, **changed,
    }  # fmt: skip
    return msgspec.msgpack.encode(list(fields.values()))


def request(n: Any = 1, labels: tuple[str, ...] = ("a", "m", "v", ""), **at: Any) -> dict[Any, Any]:
    values: list[Any] = [n, {}, {}, *[0] * 10, {}, {}, 0, 0.0, {}, {}, *[0] * 6, {}, {}]
    for place, value in at.items():
        values[int(place[1:])] = value
    return {labels: values}


def arm(
    *, totals: Any = None, level: int = 0, measures: Any = ("error",), units: Any = (), rule: str = RULE
) -> dict[Any, Any]:
    return {(rule, "big"): [totals or _ARM_TOTALS, level, list(measures), list(units)]}


def _says(name: str, refused: str = "", **changed: Any) -> Hostile:
    return Hostile(name, lambda instance: message(instance, **changed), refused)


BAD = "malformed"
TELEMETRY = (
    _says("start beyond a bigint", BAD, start=2**63),
    _says("start below zero", BAD, start=-1),
    _says("sequence beyond a bigint", BAD, sequence=2**63 + 5),
    _says("start is text", BAD, start="now"),
    _says("start is a fraction", BAD, start=1.5),
    _says("sent far off", sent_at=1),
    _says("sent beyond all time", BAD, sent_at=2**64 - 1),
    _says("dropped below zero", BAD, dropped=-5),
    _says("a service with NUL", BAD, service="a\0b"),
    _says("a service of a megabyte", BAD, service="s" * 900_000),
    _says("a flag with NUL", evaluations={("fl\0ag", "v", "STATIC"): 1}),
    _says("a flag of many", evaluations={("f" * 500_000, "v", "STATIC"): 1}),
    _says("a label that pretends to be two", requests=request(labels=("a\x1fb", "m", "v", ""))),
    _says("evaluations below zero", BAD, evaluations={("f", "v", "r"): -3}),
    _says("evaluations beyond counting", BAD, evaluations={("f", "v", "r"): 2**63}),
    _says("evaluations that are none", BAD, evaluations={("f", "v", "r"): None}),
    _says("fewer labels", requests=request(labels=("a",))),
    _says("more labels, of a newer SDK", requests=request(labels=("a", "m", "v", "", "drill", "more"))),
    _says("labels that are numbers", BAD, requests={(1, 2, 3, 4): [1]}),
    _says("tokens beyond counting", BAD, requests=request(p11=2**62)),
    _says("quality is not a number", BAD, requests=request(p16=float("nan"))),
    _says("quality without end", BAD, requests=request(p16=float("-inf"))),
    _says("a bucket that no value has", BAD, requests=request(p13={10**9: 1})),
    _says("an error class of a newer SDK", requests=request(p1={"meltdown": 1})),
    _says("a million classes", requests=request(p1={f"e{i}": 1 for i in range(50_000)})),
    _says("more fields, of a newer SDK", requests={("a", "m", "v", ""): [*request()["a", "m", "v", ""], 1, {"x": 2}]}),
    _says("a rung of a newer SDK", requests=request(p17={"oracle:big": [1]})),
    _says("ten thousand rungs", requests=request(p17={f"model:t{i}": [1] for i in range(10_000)})),
    _says("a rung served less than never", BAD, requests=request(p17={"cache": [-1]})),
    _says("ten thousand models", requests=request(p18={("p", f"m{i}"): [{"ok": 1}] for i in range(10_000)})),
    _says("a model with NUL", requests=request(p18={("p", "m\0"): [{"meltdown": 1}, 0, 5, 5]})),
    _says("a model without a provider", requests=request(p18={("m",): [{"ok": 1}]})),
    _says("attempts below zero", BAD, requests=request(p18={("p", "m"): [{"ok": -1}]})),
    _says("an attempt that spent all there is", BAD, requests=request(p18={("p", "m"): [{}, 0, 2**62]})),
    _says("a prompt beyond any bucket", BAD, requests=request(p25={10**9: 1})),
    _says("twenty attributes", custom={("n", ",".join(f"k{i}=v" for i in range(20))): [1, 1.0, {}]}),
    _says("a custom sum without end", BAD, custom={("n", ""): [1, float("inf"), {}]}),
    _says("a measure that nobody has", arms=arm(measures=["prayer"], units=[[5, 0, {0: 1}, [0], {}]])),
    _says("a unit beyond a bigint", BAD, arms=arm(units=[[2**64 - 1, 0, {}, [], {}]])),
    _says("a unit with fewer requests than none", BAD, arms=arm(units=[[1, 0, {0: -1}, [], {}]])),
    _says("a measure beyond any table", BAD, arms=arm(units=[[1, 0, {64: 1}, [], {}]])),
    _says("more measures than any stage has", BAD, arms=arm(measures=[f"event:{n}" for n in range(65)])),
    _says("a level beyond any", BAD, arms=arm(level=21)),
    _says("a unit that says more", arms=arm(units=[[6, 0, {0: 1}, [], {}, "more"]])),
    _says("an arm that says more", arms={key: [*said, "more"] for key, said in arm().items()}),
    _says("squares that overflow", BAD, arms=arm(totals=[1, {}, {}, {}, {"cost": 1e300}, {"cost": 1e308}])),
    _says("a value that overflows", BAD, arms=arm(units=[[7, 0, {}, [], {0: 1e101}]])),
    _says("a rule with an epoch of 2**70", arms=arm(rule=f"rollout:x:{2**70}.0")),
    _says("a rule that is none", arms=arm(rule="vip")),
    _says("ten thousand bad units", arms=arm(units=[[i, 0, {0: 1}, [0], {}] for i in range(10_000)])),
    Hostile("another instance", lambda _: message("somebody-else"), "instance"),
    Hostile("an instance with a dot", lambda _: message("a.b"), BAD),
    Hostile("more elements, of a newer SDK", lambda i: msgspec.msgpack.encode([*msgspec.msgpack.decode(message(i)), 1, "x"])),
    Hostile("fewer elements", lambda i: msgspec.msgpack.encode(msgspec.msgpack.decode(message(i))[:-1]), BAD),
    Hostile("a map", lambda i: msgspec.msgpack.encode({"instance": i}), BAD),
    Hostile("nothing", lambda _: b"", BAD),
    Hostile("noise", lambda _: bytes(range(256)), BAD),
    Hostile("half a message", lambda i: message(i, requests=request())[:-30], BAD),
    Hostile("nested without end", lambda i: message(i) + b"\x91" * 100_000, BAD),
    Hostile("a list that says it is long", lambda _: b"\x9c\x01\xdd\xff\xff\xff\xff", BAD),
    Hostile("broken UTF-8", lambda i: message(i, service="abc").replace(b"abc", b"\xff\xfe\xfd"), BAD),
)  # fmt: skip


def presence(instance: str, **changed: Any) -> bytes:
    now = int(time.time() * 1000)
    fields = {
        "instance": instance, "service": "s", "sdk_version": "1", "ep": 1, "rev": 1, "state": "LIVE", "age_s": 0.1,
        "ts": now, **changed,
    }  # fmt: skip
    return _json(fields)


def _json(fields: dict[str, Any]) -> bytes:
    """Also numbers that msgspec's encoder would not write."""
    return ("{" + ",".join(f'"{name}":{_text(value)}' for name, value in fields.items()) + "}").encode()


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode() if isinstance(value, str | bool) else str(value)


PRESENCE: dict[str, Callable[[str], bytes]] = {
    "an epoch of 2**70": lambda i: presence(i, ep=2**70),
    "a revision of 2**64": lambda i: presence(i, rev=2**64),
    "a revision below zero": lambda i: presence(i, rev=-5),
    "a service with NUL": lambda i: presence(i, service="a\0b"),
    "a state of many": lambda i: presence(i, state="S" * 60_000),
    "an instant of 10**400": lambda i: presence(i, ts=10**400),
    "applied at 10**300": lambda i: presence(i, applied_at=10**300),
    "an age below zero": lambda i: presence(i, age_s=-1e308),
    "an age without end": lambda i: presence(i, age_s="1e999").replace(b'"1e999"', b"1e999"),
    "half a surrogate pair": lambda i: presence(i, service="x").replace(b'"x"', b'"\\ud800"'),
    "nested without end": lambda _: b'{"x":' + b"[" * 100_000,
    "closing is a word": lambda i: presence(i, closing="yes"),
    "a proof of noise": lambda i: presence(i, rev=10**6, proof="AAAA", proof_kind="log", proof_sig="k.AAAA"),
    "nothing": lambda _: b"",
}

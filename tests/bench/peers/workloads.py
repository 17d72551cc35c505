"""The questions, told once in neutral words; every peer translates them into its own format."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

Shape = Literal["plain", "targeted", "split", "cohort"]
Context = Mapping[str, str]

COHORT = tuple(f"u-{n}" for n in range(1_000))
MANY = 5_000
RULES: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (("pro", "team"), ("de",), "b"),
    (("pro", "team"), ("fr",), "c"),
    (("pro", "team"), ("us", "ca"), "d"),
)
"""Of a `targeted` flag: plan is one of, country is one of, serves. Otherwise it serves "a"."""

FIRST_SHARE = 5
"""Percent of units that a split gives "a"; the others get "b"."""


class Flag(NamedTuple):
    """`plain` is true. `split` serves plan "free" "a" and splits the rest by unit; `cohort` splits the members of
    COHORT by unit and serves the others "out"; `targeted`: see RULES."""

    key: str
    shape: Shape


WORKLOADS: Mapping[str, tuple[Flag, Context]] = {
    "plain": (Flag("plain", "plain"), {"unit": "u-7", "plan": "pro", "country": "us"}),
    "targeted": (Flag("targeted", "targeted"), {"unit": "u-7", "plan": "pro", "country": "us"}),
    "split": (Flag("split", "split"), {"unit": "u-7", "plan": "pro", "country": "us"}),
    "cohort": (Flag("cohort", "cohort"), {"unit": "u-7", "plan": "pro", "country": "us"}),
}
SMALL = [flag for flag, _ in WORKLOADS.values()]


def many() -> list[Flag]:
    """5,000 flags: plain, targeted and split ones in turn."""
    shapes: tuple[Shape, ...] = ("plain", "targeted", "split")
    return [Flag(f"flag-{n:04}", shapes[n % 3]) for n in range(MANY)]


Ask = Callable[[], object]


class Peer(Protocol):
    """One SDK. A subject is what a service makes once a request; an ask is then one evaluation and nothing else."""

    distribution: str
    module: str

    def document(self, flags: list[Flag]) -> bytes:
        """The flags in the peer's own format."""

    def load(self, document: bytes) -> None:
        """Makes the peer serve `document` and nothing else."""

    def subject(self, context: Context) -> Any:
        """`context` as the peer wants it."""

    def ask(self, flag: Flag, subject: Any) -> Ask: ...

    def value(self, answer: object) -> object:
        """True or the text in what an ask returned."""


def faults(peer: Peer) -> Iterator[str]:
    """What `peer`, loaded with SMALL, answers wrongly. Shares may differ a little: peers hash differently."""

    def value(shape: str, **changes: str) -> object:
        flag, context = WORKLOADS[shape]
        return peer.value(peer.ask(flag, peer.subject({**context, **changes}))())

    if value("plain") is not True:
        yield "plain is not true"
    for plan, country, expected in (
        ("pro", "us", "d"),
        ("team", "ca", "d"),
        ("pro", "fr", "c"),
        ("team", "de", "b"),
        ("free", "us", "a"),
        ("pro", "it", "a"),
    ):
        if (found := value("targeted", plan=plan, country=country)) != expected:
            yield f"targeted: {plan}, {country} got {found!r}, not {expected!r}"
    if (found := value("split", plan="free")) != "a":
        yield f"split: plan free got {found!r}"
    if (found := value("cohort", unit="stranger")) != "out":
        yield f"cohort: a stranger got {found!r}"
    for shape in ("split", "cohort"):
        units = COHORT if shape == "cohort" else tuple(f"user-{n}" for n in range(1_000))
        answers = [value(shape, unit=unit) for unit in units]
        if not set(answers) <= {"a", "b"}:
            yield f"{shape}: answered {set(answers)}"
        elif not 20 <= answers.count("a") <= 85:
            yield f"{shape}: {answers.count('a') / 10}% got a, not about {FIRST_SHARE}%"

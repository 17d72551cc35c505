"""What a careful programmer would write by hand for just these flags: the bound nobody goes below in Python."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import mmh3

from tests.bench.peers.workloads import COHORT, FIRST_SHARE, RULES, Ask, Context, Flag

_EDGE = FIRST_SHARE * 2**32 // 100
Decide = Callable[[Mapping[str, str]], object]


class Peer:
    distribution = "mmh3"
    module = "mmh3"

    def __init__(self) -> None:
        self.flags: dict[str, Decide] = {}

    def document(self, flags: list[Flag]) -> bytes:
        return json.dumps(flags).encode()

    def load(self, document: bytes) -> None:
        self.flags = {key: _MAKERS[shape](key) for key, shape in json.loads(document)}

    def subject(self, context: Context) -> Context:
        return dict(context)

    def ask(self, flag: Flag, subject: Context) -> Ask:
        return partial(self.decide, flag.key, subject)

    def decide(self, key: str, context: Mapping[str, str]) -> object:
        return self.flags[key](context)

    def value(self, answer: object) -> object:
        return answer


def _plain(key: str) -> Decide:
    counts = [0]

    def decide(context: Mapping[str, str]) -> object:
        counts[0] += 1
        return True

    return decide


def _targeted(key: str) -> Decide:
    counts = [0]
    (plans, germany, b), (_, france, c), (_, america, d) = RULES

    def decide(context: Mapping[str, str]) -> object:
        counts[0] += 1
        if context.get("plan") in plans:
            country = context.get("country")
            if country in germany:
                return b
            if country in france:
                return c
            if country in america:
                return d
        return "a"

    return decide


def _split(key: str) -> Decide:
    counts = [0]
    prefix = key + ":"

    def decide(context: Mapping[str, str]) -> object:
        counts[0] += 1
        if context.get("plan") == "free":
            return "a"
        return "a" if mmh3.hash(prefix + context["unit"], 0, False) < _EDGE else "b"

    return decide


def _cohort(key: str) -> Decide:
    counts = [0]
    prefix = key + ":"
    members = frozenset(COHORT)

    def decide(context: Mapping[str, str]) -> object:
        counts[0] += 1
        unit = context["unit"]
        if unit not in members:
            return "out"
        return "a" if mmh3.hash(prefix + unit, 0, False) < _EDGE else "b"

    return decide


_MAKERS: dict[str, Any] = {"plain": _plain, "targeted": _targeted, "split": _split, "cohort": _cohort}

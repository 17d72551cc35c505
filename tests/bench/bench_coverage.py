"""What coverage costs: 200 request classes × 16 failure modes × 10 combinations, every cell walked.

The combinations are two variants in five states of safe mode: none and four profiles. The classes share 40 routes and
ladders; what it costs when no two classes share any is told beside it."""
# ruff: noqa: RUF001, RUF002 - the multiplication sign

import random
from datetime import UTC, datetime
from itertools import pairwise
from time import perf_counter
from typing import Any

import msgspec

from brownout.model.resources import ResourceRef
from controlplane.resilience import walk
from controlplane.resilience.matrix import coverage
from controlplane.resilience.world import world_of
from tests.bench.report import Ratio, Report, ms, percentile

CLASSES, MODES, VARIANTS, PROFILES, ROUNDS = 200, 16, 2, 4, 7
SHARED = 40
BOUND_S = 0.5
ERRORS = (
    "rate_limited", "timeout", "server_error", "overloaded", "context_window", "format_error", "refusal",
    "content_filter", "filter_unavailable", "tool_error", "budget_exhausted", "auth", "bad_request", "retrieval_miss",
)  # fmt: skip
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run() -> Report:
    shared, own = _measure(_resources(random.Random(16), SHARED)), _measure(_resources(random.Random(16), CLASSES))
    return Report(
        f"Coverage of {CLASSES} classes × {MODES} modes × {VARIANTS * (PROFILES + 1)} combinations, p50 of {ROUNDS}",
        {
            "reading the specs": ms(shared[0]),
            "every cell, nothing remembered": ms(shared[1]),
            "every cell again": ms(shared[2]),
            "every cell, where each class has a ladder of its own": ms(own[1]),
        },
        (Ratio("reading and every cell, beside 500 ms", (shared[0] + shared[1]) / BOUND_S, 1.0),),
    )


def _measure(resources: dict[ResourceRef, bytes]) -> list[float]:
    """The medians of reading, of every cell, and of every cell again, in seconds."""
    samples: tuple[list[float], ...] = ([], [], [])
    for _ in range(ROUNDS):
        walk.walks.cache_clear()
        instants = [perf_counter()]
        world = world_of(resources)
        instants.append(perf_counter())
        for _ in range(2):
            assert len(coverage(world, now=NOW)) == CLASSES * MODES * (PROFILES + 1)
            instants.append(perf_counter())
        for each, (start, end) in zip(samples, pairwise(instants), strict=True):
            each.append(end - start)
    return [percentile(each, 0.5) for each in samples]


def _resources(chance: random.Random, ladders: int) -> dict[ResourceRef, bytes]:
    found: dict[ResourceRef, Any] = {ResourceRef("response_template", "sorry"): {"text": "Sorry."}}
    for number in range(ladders):
        targets = {
            f"m{number}-{index}": {"provider": chance.choice(["acme", "beta", "gamma"]), "model": f"m{index}",
                                   "max_context_tokens": chance.choice([8_000, 64_000])}
            for index in range(4)
        }  # fmt: skip
        names = list(targets)
        rungs = [
            {"type": "model", "target": name, **({"on": chance.sample(ERRORS, 4)} if chance.random() < 0.5 else {})}
            for name in names[1:]
        ]
        rungs += chance.sample(
            [{"type": "cache"}, {"type": "human_review"}, {"type": "template", "template": "sorry"}], 2
        )
        chance.shuffle(rungs)
        route = {name: {"targets": targets, "primary": name} for name in names[:VARIANTS]}
        found[ResourceRef("flag", f"model-{number}")] = _flag("model_route", route)
        found[ResourceRef("flag", f"ladder-{number}")] = _flag("fallback_ladder", {"v": {"rungs": rungs}})
    for number in range(CLASSES):
        found[ResourceRef("request_class", f"class-{number}")] = {
            "criticality": "critical", "model": f"model-{number % ladders}", "ladder": f"ladder-{number % ladders}",
            "owner": "someone", "retrieval": bool(number % 2), "sensitive": bool(number % 3),
        }  # fmt: skip
    for number in range(MODES):
        errors = list(dict.fromkeys([ERRORS[number % len(ERRORS)], chance.choice(ERRORS)]))
        reach = chance.choice(["model", "provider", "every_model"])
        found[ResourceRef("failure_mode", f"mode-{number}")] = {"detect": {"errors": errors, "reach": reach}}
    for number in range(PROFILES):
        found[ResourceRef("safe_mode_profile", f"profile-{number}")] = {
            "exclude_providers": [["acme"], ["beta"], ["*"], []][number % 4],
            "sensitive": ["continue", "human_review", "stop"][number % 3], "max_context_tokens": 4_000 + number,
        }  # fmt: skip
    return {ref: msgspec.json.encode(spec, order="sorted") for ref, spec in found.items()}


def _flag(type_: str, variants: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(variants))
    return {"type": type_, "variants": variants, "off_variant": first, "default": first}

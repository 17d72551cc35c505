"""openfeature-provider-flagd evaluating in process from a file; asked directly, without OpenFeature's own client."""

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext

from tests.bench.peers.workloads import COHORT, FIRST_SHARE, RULES, Ask, Context, Flag


class Peer:
    distribution = "openfeature-provider-flagd"
    module = "openfeature.contrib.provider.flagd"

    def __init__(self) -> None:
        self.file = Path(tempfile.mkdtemp()) / "flags.json"
        self.provider: FlagdProvider | None = None

    def document(self, flags: list[Flag]) -> bytes:
        return json.dumps({"flags": {flag.key: _spec(flag) for flag in flags}}).encode()

    def load(self, document: bytes) -> None:
        if self.provider is not None:
            self.provider.shutdown()
        self.file.write_bytes(document)
        self.provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(self.file))
        self.provider.initialize(EvaluationContext())

    def subject(self, context: Context) -> EvaluationContext:
        return EvaluationContext(context["unit"], {"plan": context["plan"], "country": context["country"]})

    def ask(self, flag: Flag, subject: EvaluationContext) -> Ask:
        assert self.provider is not None
        if flag.shape == "plain":
            return partial(self.provider.resolve_boolean_details, flag.key, False, subject)
        return partial(self.provider.resolve_string_details, flag.key, "", subject)

    def value(self, answer: Any) -> object:
        return answer.value


def _spec(flag: Flag) -> dict[str, Any]:
    def one_of(attribute: str, values: tuple[str, ...]) -> dict[str, Any]:
        return {"in": [{"var": attribute}, list(values)]}

    split = {"fractional": [["a", FIRST_SHARE], ["b", 100 - FIRST_SHARE]]}
    if flag.shape == "plain":
        return {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
    if flag.shape == "targeted":
        steps: list[Any] = []
        for plans, countries, text in RULES:
            steps += [{"and": [one_of("plan", plans), one_of("country", countries)]}, text]
        targeting: dict[str, Any] = {"if": [*steps, "a"]}
    elif flag.shape == "split":
        targeting = {"if": [one_of("plan", ("free",)), "a", split]}
    else:
        targeting = {"if": [one_of("targetingKey", COHORT), split, "out"]}
    variants = {name: name for name in ("a", "b", "c", "d", "out")}
    return {"state": "ENABLED", "variants": variants, "defaultVariant": "a", "targeting": targeting}

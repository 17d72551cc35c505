"""One side of a change: the resources as they were, or as they will be."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from brownout.evaluation.compile import Compiled
from brownout.evaluation.decision import Decision, Reason
from brownout.evaluation.evaluate import evaluate
from brownout.model.check import references
from brownout.model.parse import decode
from brownout.model.references import GOVERNORS
from brownout.model.resources import Cohort, Flag, RequestClass, ResourceRef, Spec
from controlplane.configuration.store.effective.words import served


class Got(NamedTuple):
    """What somebody gets: words for it, and the values behind the words by variant."""

    words: str
    values: Mapping[str, Any]


class Side:
    """Holds the touched resources, whatever names them, and whatever these name; specs are read when asked for."""

    def __init__(self, resources: Mapping[ResourceRef, bytes]) -> None:
        self._resources = resources
        self._specs: dict[ResourceRef, Spec | None] = {}

    def flag(self, key: str) -> Flag | None:
        spec = self.find(ResourceRef("flag", key))
        return spec if isinstance(spec, Flag) else None

    def cohort(self, key: str) -> Cohort | None:
        spec = self.find(ResourceRef("cohort", key))
        return spec if isinstance(spec, Cohort) else None

    def governed_by(self, flag: str) -> list[tuple[str, str]]:
        """(request class, field) pairs that name the flag."""
        return [(key, field) for key, spec in self._classes for field in GOVERNORS if getattr(spec, field) == flag]

    def flags_naming(self, cohort: str) -> list[str]:
        named = ResourceRef("cohort", cohort)
        keys = sorted(ref.key for ref in self._resources if ref.kind == "flag")
        return [key for key in keys if named in references(self.find(ResourceRef("flag", key)) or Cohort())]

    def decide(self, flag: str, context: Mapping[str, Any]) -> Decision[Any]:
        """What the SDK would decide, safe mode aside."""
        return evaluate(self._compiled, flag, context, default=None)

    def got(self, key: str, context: Mapping[str, Any]) -> Got:
        """What `context` gets from a flag; a share of a split is told as the whole split, its fallback as itself."""
        flag = self.flag(key)
        decision = self.decide(key, context)
        if flag is None or decision.variant is None:
            return Got("the caller's default", {})
        serve = next((rule.serve for rule in flag.rules if rule.id == decision.rule), flag.default)
        if decision.reason is not Reason.SPLIT or decision.metadata.get("unit_missing"):
            serve = decision.variant
        variants = [decision.variant] if isinstance(serve, str) else [share.variant for share in serve.split]
        words = served(serve) + (" (disabled)" if decision.reason is Reason.DISABLED else "")
        return Got(words, {name: msgspec.to_builtins(flag.variants[name]) for name in variants})

    def unreadable(self, ref: ResourceRef) -> bool:
        """It is there, but not in a form that this version knows."""
        return ref in self._resources and self.find(ref) is None

    @cached_property
    def _compiled(self) -> Compiled:
        return Compiled("", 0, self._resources)

    @cached_property
    def _classes(self) -> list[tuple[str, RequestClass]]:
        found = ((ref.key, self.find(ref)) for ref in sorted(self._resources) if ref.kind == "request_class")
        return [(key, spec) for key, spec in found if isinstance(spec, RequestClass)]

    def find(self, ref: ResourceRef) -> Spec | None:
        """The spec; None when there is none that this version can read."""
        if ref not in self._specs:
            encoded = self._resources.get(ref)
            self._specs[ref] = None
            if encoded is not None:
                with suppress(msgspec.DecodeError, KeyError):  # a newer version wrote it; it can still be replaced
                    self._specs[ref] = decode(ref.kind, encoded)
        return self._specs[ref]

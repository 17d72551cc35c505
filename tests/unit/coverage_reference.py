"""What answers when something fails, worked out from the tables of docs/sdk/runner.md alone: a reference for the tests.

It reads the plain documents and never asks the product's evaluator or ladder. It is slow and says the same thing in
another way on purpose: combinations are loops, a ladder is a list, and each error class has its own few lines.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

Document = dict[str, dict[str, Any]]
"""kind → key → spec."""

ORDER = ("not_possible", "answered", "silent", "raw", "nothing")


def gaps(document: Document) -> set[tuple[str, str, str]]:
    """(class, mode, profile) of each cell in which users are not served as the mode asks."""
    return {place for place, state in states(document).items() if state in {"silent", "raw", "nothing"}}


def states(document: Document) -> dict[tuple[str, str, str], str]:
    found = {}
    for key, spec in document["request_class"].items():
        for name, mode in document["failure_mode"].items():
            if mode.get("classes") and key not in mode["classes"]:
                continue
            for profile in ("", *document["safe_mode_profile"]):
                found[key, name, profile] = max(_each(document, spec, mode, profile), key=ORDER.index)
    return found


def _each(document: Document, spec: Any, mode: Any, profile: str) -> Iterator[str]:
    limits = document["safe_mode_profile"].get(profile, {})
    for model, ladder, budget, tools in product(*(_variants(document, spec, field, limits) for field in FIELDS)):
        world = Situation(document, spec, limits, model, ladder or {}, budget or {}, tools)
        for error in mode["detect"]["errors"]:
            state = world.outcome(error, mode["detect"].get("reach", "provider"))
            notice = mode.get("say", {}).get("user")
            notices = spec.get("notices", {})
            if state == "answered" and notice is not None and notice not in notices and "*" not in notices:
                state = "silent"
            yield state


FIELDS = ("model", "ladder", "budget", "tools")


def _variants(document: Document, spec: Any, field: str, limits: Any) -> list[Any]:
    key = spec.get(field)
    if key is None:
        return [None]
    flag = document["flag"][key]
    served = limits.get("serve_safe_variant", [])
    if flag.get("safe_variant") and ("*" in served or key in served):
        return [flag["variants"][flag["safe_variant"]]]
    return list(flag["variants"].values())


class Situation:
    """One class, one combination of variants, one profile."""

    def __init__(
        self, document: Document, spec: Any, limits: Any, model: Any, ladder: Any, budget: Any, tools: Any
    ) -> None:
        self.document, self.spec, self.limits = document, spec, limits
        self.ladder, self.budget, self.tools = ladder, budget, tools
        self.targets = model["targets"]
        primary = model["primary"]
        self.rungs = [
            rung for rung in ladder.get("rungs", []) if rung.get("target") != primary and not self._rung_is_out(rung)
        ]
        self.stopped = self.without_sources = False
        self.primary: str | None = primary
        if self._is_out(primary):
            spare = next((rung["target"] for rung in self.rungs if rung["type"] == "model"), None)
            self.primary = spare
            self.rungs = [rung for rung in self.rungs if rung.get("target") is None or rung["target"] != spare]
            self.stopped = spare is None and not any(rung["type"] in NOT_A_MODEL for rung in self.rungs)

    def _is_out(self, name: str) -> bool:
        provider = self.targets[name]["provider"]
        everything = "*" in self.limits.get("exclude_providers", []) + self.limits.get("exclude_targets", [])
        return (
            everything
            or name.lower() in map(str.lower, self.limits.get("exclude_targets", []))
            or provider.lower() in map(str.lower, self.limits.get("exclude_providers", []))
        )

    def _rung_is_out(self, rung: Any) -> bool:
        if rung["type"] == "model":
            return self._is_out(rung["target"])
        everything = "*" in self.limits.get("exclude_providers", []) + self.limits.get("exclude_targets", [])
        return rung["type"] == "cache" and everything

    def outcome(self, error: str, reach: str) -> str:
        if error == "tool_error" and (self.primary is None or not self._has_tools()):
            return "not_possible"
        if error == "retrieval_miss" and not self.spec.get("retrieval"):
            return "not_possible"
        self.without_sources = error == "retrieval_miss"
        sensitive = self.limits.get("sensitive", "continue") if self.spec.get("sensitive") else "continue"
        if self.stopped or sensitive == "stop":
            return "nothing"
        if sensitive == "human_review":
            return "answered" if self._person() else "nothing"
        if error == "retrieval_miss":
            if any("retrieval_miss" in rung.get("on", []) for rung in self.rungs):
                return self._below(error, reach, models=True)
            return self._below(None, reach, models=False) if self.primary is None else "raw"
        if self.primary is None:  # nothing fails where no model is asked
            return self._below(None, reach, models=False)
        if error == "budget_exhausted" and self.budget.get("window"):
            what = self.budget.get("on_exceeded", "reject")
            if what == "warn":
                return "answered"
            return "nothing" if what == "reject" else self._below(error, reach, models=False)
        if error == "bad_request":
            return "nothing"
        return self._below(error, reach, models=True)

    def _has_tools(self) -> bool:
        if self.tools is None:
            return False
        return bool(self.tools.get("include", ["*"])) and "*" not in (
            self.tools.get("exclude", []) + self.limits.get("exclude_tools", [])
        )

    def _below(self, error: str | None, reach: str, *, models: bool) -> str:
        failed = self.primary
        window = self.targets[failed].get("max_context_tokens") if failed else None
        tried = {failed}
        for rung in self.rungs:
            if not self._leads(rung, error):
                continue
            if rung["type"] != "model":
                if self._serves(rung):
                    return "answered"
                continue
            name = rung["target"]
            if not models or name in tried or not self._worth(error, name, failed, window, rung):
                continue
            if not self._reached(name, reach):
                return "answered"
            tried.add(name)
            failed, window = name, self.targets[name].get("max_context_tokens")
            if error == "retrieval_miss":  # this rung was put there for requests without sources
                return "answered"
        return self._end(error)

    def _leads(self, rung: Any, error: str | None) -> bool:
        on = rung.get("on", [])
        if error is None:
            return True
        if error in {"refusal", "content_filter"}:
            return error in on
        return not on or error in on

    def _worth(self, error: str | None, name: str, failed: str | None, window: int | None, rung: Any) -> bool:
        target = self.targets[name]
        if error == "context_window":
            return (target.get("max_context_tokens") or 0) > (window or 0)
        if error == "budget_exhausted":
            return failed is None or target["provider"] != self.targets[failed]["provider"]
        if error == "filter_unavailable":
            return False
        return error != "retrieval_miss" or "retrieval_miss" in rung.get("on", [])

    def _reached(self, name: str, reach: str) -> bool:
        assert self.primary is not None
        if reach == "every_model":
            return True
        return reach == "provider" and self.targets[name]["provider"] == self.targets[self.primary]["provider"]

    def _serves(self, rung: Any) -> bool:
        match rung["type"]:
            case "template":
                return rung["template"] in self.document["response_template"]
            case "human_review" | "later":
                return bool(self.spec.get("owner"))
            case "evidence":
                return bool(self.spec.get("retrieval")) and not self.without_sources
        return True

    def _end(self, error: str | None) -> str:
        if error not in {"refusal", "content_filter"}:
            return "nothing"
        default = {"refusal": "surface", "content_filter": "stop"}[error]
        action = self.ladder.get("terminal", {}).get(error, default)
        if action == "surface":
            return "raw"
        if action == "human_review":
            return "answered" if self._person() else "nothing"
        if action == "template":
            return "answered" if any(rung["type"] == "template" for rung in self.rungs) else "nothing"
        return "nothing"

    def _person(self) -> bool:
        return bool(self.spec.get("owner")) and any(rung["type"] == "human_review" for rung in self.rungs)


NOT_A_MODEL = ("evidence", "template", "human_review", "later")

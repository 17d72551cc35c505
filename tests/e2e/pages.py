"""Every page of an environment that has an address: what is looked at, and what must be accessible and quiet."""

from tests.e2e.brownout_up import BrownoutUp

PAGES = {
    "overview": "",
    "safe-mode": "/safe-mode",
    "activate": "/safe-mode/activate",
    "emergency": "/safe-mode/emergency",
    "flags": "/flags",
    "flag": "/flags/{flag}",
    "flag-history": "/flags/{flag}/history",
    "flag-new": "/flags/new",
    "cohorts": "/cohorts",
    "cohort": "/cohorts/{cohort}",
    "request-classes": "/request-classes?profile=contain",
    "request-class": "/request-classes/{request_class}",
    "coverage": "/coverage",
    "coverage-safe-mode": "/coverage?profile=contain",
    "failure-modes": "/failure-modes",
    "failure-mode": "/failure-modes/provider-outage",
    "service-tiers": "/service-tiers",
    "profile": "/safe-mode-profiles/contain",
    "templates": "/response-templates",
    "rollouts": "/rollouts",
    "rollout": "/rollouts/{rollout}",
    "rollout-move": "/rollouts/{rollout}/move/pause",
    "rollout-new": "/rollouts/new",
    "rollout-new-flag": "/rollouts/new?flag={flag}",
    "signals": "/signals?hours=1",
    "budgets": "/budgets",
    "fleet": "/fleet",
    "history": "/history",
    "commit": "/history/2",
    "undo": "/undo/2",
    "compare": "/compare?start=1&end=3",
    "playground": "/playground?subject=request_class/{request_class}&context=%7B%22plan%22%3A%22pro%22%7D",
    "playground-flag": "/playground?subject=flag/{flag}&context=%7B%22plan%22%3A%22beta%22%7D",
    "notifications": "/notifications",
    "channels": "/notifications/channels",
    "inbox": "/notifications/inbox",
    "people": "/access/people",
    "keys": "/access/keys",
    "tokens": "/access/tokens",
    "sessions": "/access/sessions",
    "approvals": "/access/approvals",
    "audit": "/access/audit",
    "demo": "/demo",
}


def names(up: BrownoutUp) -> dict[str, str]:
    """One resource of each kind to look at."""
    flags = [item["key"] for item in up.json("flag", "list")["items"]]
    first = {
        kind: up.json(verb, "list")["items"][0]["key"]
        for kind, verb in (("cohort", "cohort"), ("request_class", "request-class"))
    }
    rollouts = up.json("rollout", "list")["items"]
    model = next((flag for flag in flags if "model" in flag), flags[0])
    return {"flag": model, **first, "rollout": rollouts[0]["key"] if rollouts else "none"}

"""Short ways to write resources and operations."""

import msgspec

from brownout.wire import Operation

Put = tuple[str, str, object]


def put(resource: Put) -> Operation:
    kind, key, spec = resource
    return Operation("put", kind, key, msgspec.Raw(msgspec.json.encode(spec)))


def raw(kind: str, key: str, spec: bytes) -> Operation:
    return Operation("put", kind, key, msgspec.Raw(spec))


def delete(kind: str, key: str) -> Operation:
    return Operation("del", kind, key)


def cohort(key: str, *members: str) -> Put:
    return "cohort", key, {"include": list(members)}


def flag(key: str, **more: object) -> Put:
    spec = {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": "on"}
    return "flag", key, spec | more


def in_cohort(key: str, variant: str = "on") -> dict[str, object]:
    """A rule that serves `variant` to the cohort `key`."""
    return {"id": f"to-{key}", "if": [{"op": "in_cohort", "values": [key]}], "serve": variant}


def model_flag(key: str, *targets: str, **more: object) -> Put:
    """A route with one variant `main`, whose targets are small models."""
    named = {name: {"provider": "acme", "model": f"acme-{name}", "max_context_tokens": 8_000} for name in targets}
    variants = {"main": {"targets": named, "primary": targets[0]}}
    return "flag", key, {"type": "model_route", "variants": variants, "off_variant": "main", "default": "main"} | more


def ladder_flag(key: str, *targets: str) -> Put:
    variants = {"main": {"rungs": [{"type": "model", "target": target} for target in targets]}}
    return "flag", key, {"type": "fallback_ladder", "variants": variants, "off_variant": "main", "default": "main"}


def request_class(key: str, **flags: str) -> Put:
    return "request_class", key, {"criticality": "critical"} | flags


def activation(key: str, profile: str, **more: object) -> Put:
    spec = {
        "profile": profile,
        "reason": "the provider is down",
        "actor": "mara",
        "activated_at": "2026-01-01T00:00:00Z",
        "expires_at": "2999-01-01T00:00:00Z",
    }
    return "safe_mode_activation", key, {name: value for name, value in (spec | more).items() if value is not None}

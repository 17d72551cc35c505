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

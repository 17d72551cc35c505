"""Writes `1.json`, for as long as level 1 is not released."""

import msgspec

from sdk.conformance.levels import LEVEL_1, fields_now

LEVEL_1.write_bytes(msgspec.json.format(msgspec.json.encode(fields_now()), indent=1) + b"\n")

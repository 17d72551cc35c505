"""How long credentials last, and what an identity provider said of somebody (docs/access.md)."""

from datetime import datetime, timedelta

import msgspec


class Bounds(msgspec.Struct, frozen=True):
    """`token`: the longest that an API token lasts. `sso_session`, `sso_tokens`: how long after the identity provider
    last confirmed somebody its groups count in their sessions, and in what acts for them while they are away."""

    token: timedelta
    sso_session: timedelta
    sso_tokens: timedelta

    def session_since(self, now: datetime) -> datetime:
        return now - self.sso_session

    def tokens_since(self, now: datetime) -> datetime:
        return now - self.sso_tokens

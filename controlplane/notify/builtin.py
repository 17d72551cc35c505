"""Channels that are there without anyone adding them: that of `BROWNOUT_ALERT_WEBHOOK`, and the demo's inbox."""

from urllib.parse import urlsplit

import msgspec

from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.notify.kinds import Severity
from controlplane.notify.queries import channels, routes
from controlplane.notify.senders.webhook import WebhookConfig
from controlplane.notify.values import BUILTIN, TEST_EVERY, Subscription
from controlplane.settings import Settings

SETTINGS = "system:settings"
INBOX = "inbox"


def builtin_config(settings: Settings) -> bytes | None:
    """The setting is the only place of its address and secret: they are not written to Postgres."""
    if not settings.alert_webhook:
        return None
    return msgspec.json.encode(WebhookConfig(settings.alert_webhook.reveal(), settings.alert_webhook_secret.reveal()))


async def ensure_builtin(database: Database, clock: Clock, url: str) -> None:
    """Makes the channel and a subscription to every warning and page, unless they are there."""
    await _ensure(
        database, clock, BUILTIN, kind="builtin", target=urlsplit(url).hostname or "", severity=Severity.WARNING
    )


async def retire(database: Database, clock: Clock, key: str) -> None:
    """Pauses a channel that the settings do not make any more; it goes on when they do again."""
    async with database.writing() as connection:
        await channels.pause(connection, key, SETTINGS, clock.now())


async def ensure_inbox(database: Database, clock: Clock) -> None:
    await _ensure(database, clock, INBOX, kind="inbox", target="the demo's inbox", severity=Severity.NOTICE)


async def _ensure(database: Database, clock: Clock, key: str, *, kind: str, target: str, severity: Severity) -> None:
    async with database.transaction() as connection:
        await channels.lock_routes(connection)
        found = await channels.find_channel(connection, key)
        if found is not None and found.paused_by == SETTINGS:
            await channels.resume(connection, key, clock.now())
        if found is not None and (found.kind, found.target) == (kind, target):
            return
        now = clock.now()
        await channels.put_channel(
            connection, key, team=None, kind=kind, target=target, sealed=None, by=SETTINGS, now=now,
            next_test_at=now + TEST_EVERY,
        )  # fmt: skip
        if found is None and not await routes.has_subscription(connection, key):
            made = Subscription(key, None, (key,), ("*",), ("*",), int(severity), SETTINGS, now)
            await routes.put_subscription(connection, made)

"""Notifications as one capability. Opened first, for all others tell of themselves through it; its service comes last,
for changes of channels are audited."""

from dataclasses import dataclass

from controlplane.kit.database import ReadConnection, WriteConnection
from controlplane.kit.resealing import Sealed, Vault
from controlplane.kit.secret_box import SecretBox
from controlplane.notify.acks import AckLinks
from controlplane.notify.builtin import builtin_config, ensure_builtin, ensure_inbox, retire
from controlplane.notify.dispatch import Dispatcher
from controlplane.notify.feed import AuditLog, EventFeed
from controlplane.notify.queries import channels
from controlplane.notify.reach import Reach
from controlplane.notify.senders.email import EmailSender
from controlplane.notify.senders.http import Poster
from controlplane.notify.senders.inbox import InboxSender
from controlplane.notify.senders.message import Sender
from controlplane.notify.senders.pagerduty import PagerDutySender
from controlplane.notify.senders.slack import SlackSender
from controlplane.notify.senders.teams import TeamsSender
from controlplane.notify.senders.webhook import WebhookSender
from controlplane.notify.service import Notifications
from controlplane.notify.values import BUILTIN
from controlplane.notify.writer import CHECK
from controlplane.parts import Parts
from controlplane.settings import Settings

SHARE_OF_POOL = 3
"""Deliveries have a third of the connections to Postgres at most: commits need theirs."""


@dataclass(frozen=True)
class Notify:
    """What the other capabilities are opened with: `dispatcher.writer` hears what they do."""

    parts: Parts
    dispatcher: Dispatcher
    box: SecretBox
    links: AckLinks

    @property
    def vault(self) -> Vault:
        return Vault("channels", self.box, _read, _replace, needed=False)

    def service(self, audit: AuditLog) -> Notifications:
        parts = self.parts
        writer = self.dispatcher.writer
        return Notifications(
            database=parts.database, clock=parts.clock, box=self.box, writer=writer, audit=audit,
            events=EventFeed(parts.database, parts.clock, writer=writer, links=self.links, audit=audit),
            inbox=bool(parts.settings.demo_control),
        )  # fmt: skip


async def open_notify(parts: Parts) -> Notify:
    settings = parts.settings
    box = SecretBox(settings.secret_keys, "channels")
    links = AckLinks(settings.secret_keys, settings.url)
    builtin = builtin_config(settings)
    dispatcher = Dispatcher(
        parts.database,
        parts.clock,
        senders(settings),
        box,
        links,
        url=settings.url,
        builtin=builtin,
        workers=settings.database_pool // SHARE_OF_POOL,
    )
    if builtin is not None:
        await ensure_builtin(parts.database, parts.clock, settings.alert_webhook.reveal())
    else:
        await retire(parts.database, parts.clock, BUILTIN)
    if settings.demo_control:
        await ensure_inbox(parts.database, parts.clock)
    parts.run("notifications", dispatcher.run)

    async def probe() -> dict[str, str]:
        async with parts.database.reading() as connection:
            failing = await channels.failing(connection)
        said = "; ".join(f"the channel {each.key} takes nothing: {each.last_error}" for each in failing[:5])
        return {CHECK: said + (f"; and {len(failing) - 5} more" if len(failing) > 5 else "")}

    parts.asking.append(probe)
    return Notify(parts, dispatcher, box, links)


def senders(settings: Settings) -> dict[str, Sender]:
    """By kind of channel."""
    reach = Reach(settings.private_channels)
    poster = Poster(reach)
    return {
        "webhook": WebhookSender(poster),
        "builtin": WebhookSender(Poster(None)),
        "slack": SlackSender(poster),
        "teams": TeamsSender(poster),
        "pagerduty": PagerDutySender(poster),
        "email": EmailSender(reach),
        "inbox": InboxSender(),
    }


async def _read(connection: ReadConnection) -> list[Sealed]:
    found = await channels.every_secret(connection)
    return [Sealed((each.key,), each.key, each.sealed) for each in found if each.sealed is not None]


async def _replace(connection: WriteConnection, one: Sealed, fresh: bytes) -> None:
    await channels.reseal(connection, one.key[0], one.sealed, fresh)

"""A signed POST, as Standard Webhooks has it (https://www.standardwebhooks.com)."""

import msgspec

from controlplane.notify.senders.http import Poster
from controlplane.notify.senders.message import Message, Sent
from controlplane.notify.webhook_signing import parse_secrets, sign


class WebhookConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`secret`: `whsec_…`, or several separated by commas while one replaces another."""

    url: str
    secret: str


class WebhookBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """`timestamp` is when it happened, in ISO 8601. `ack_link`: only of a page that no one has acknowledged."""

    type: str
    timestamp: str
    data: dict[str, str]
    title: str = ""
    severity: str = ""
    link: str = ""
    ack_link: str = ""


class WebhookSender:
    """Every answer but a 2xx is tried again: a receiver may refuse today what it takes tomorrow."""

    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    async def send(self, config: bytes, message: Message) -> Sent:
        into = msgspec.json.decode(config, type=WebhookConfig)
        body = msgspec.json.encode(
            WebhookBody(
                message.type, message.at, message.data, message.title, message.severity, message.link, message.ack_link
            )
        )
        keys = parse_secrets(into.secret)
        headers = {
            "webhook-id": message.message_id,
            "webhook-timestamp": str(message.timestamp),
            "webhook-signature": sign(keys, message.message_id, message.timestamp, body),
        }
        sent = await self._poster.post(into.url, body, headers)
        return msgspec.structs.replace(sent, fault="later") if sent.fault == "message" else sent

"""PagerDuty's Events API v2: alerts by `dedup_key`, and change events for what must wake no one."""

import msgspec

from controlplane.notify.senders.http import Poster
from controlplane.notify.senders.message import Message, Sent

HOST = "https://events.pagerduty.com"
SEVERITIES = {"page": "critical", "warning": "warning", "notice": "info"}
MAX_SUMMARY = 1_024


class PagerDutyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`url` is the service's host, such as `https://events.eu.pagerduty.com`."""

    routing_key: str
    url: str = HOST


class PagerDutySender:
    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    async def send(self, config: bytes, message: Message) -> Sent:
        into = msgspec.json.decode(config, type=PagerDutyConfig)
        if message.action == "change":
            path, body = "/v2/change/enqueue", change_body(into.routing_key, message)
        else:
            path, body = "/v2/enqueue", alert_body(into.routing_key, message)
        return await self._poster.post(into.url.rstrip("/") + path, msgspec.json.encode(body))


def alert_body(routing_key: str, message: Message) -> dict[str, object]:
    body: dict[str, object] = {
        "routing_key": routing_key,
        "event_action": message.action,
        "dedup_key": message.dedupe,
    }
    if message.action == "trigger":
        details = {"message_id": message.message_id, **message.data}
        body["payload"] = {
            "summary": message.title[:MAX_SUMMARY], "severity": SEVERITIES.get(message.severity, "warning"),
            "source": f"brownout {message.environment}".strip(), "timestamp": message.at, "class": message.type,
            "custom_details": details,
        }  # fmt: skip
        body["client"] = "Brownout"
        body["links"] = _links(message)
        if message.link:
            body["client_url"] = message.link
    return body


def change_body(routing_key: str, message: Message) -> dict[str, object]:
    return {
        "routing_key": routing_key,
        "payload": {
            "summary": message.title[:MAX_SUMMARY], "timestamp": message.at, "source": "brownout",
            "custom_details": message.data,
        },
        "links": _links(message),
    }  # fmt: skip


def _links(message: Message) -> list[dict[str, str]]:
    named = (("Acknowledge", message.ack_link), ("Open", message.link))
    return [{"href": link, "text": label} for label, link in named if link]

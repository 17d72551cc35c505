"""Slack's incoming webhooks (docs.slack.dev, "Sending messages using incoming webhooks")."""

import msgspec

from controlplane.notify.senders.http import Poster
from controlplane.notify.senders.message import Message, Sent

MAX_TEXT = 2_900
"""Slack takes 3,000 characters in a section."""
MARKS = {"page": "\N{LARGE RED CIRCLE}", "warning": "\N{LARGE ORANGE CIRCLE}"}


class SlackConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str


class SlackSender:
    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    async def send(self, config: bytes, message: Message) -> Sent:
        into = msgspec.json.decode(config, type=SlackConfig)
        return await self._poster.post(into.url, msgspec.json.encode(slack_body(message)))


def slack_body(message: Message) -> dict[str, object]:
    """`text` is what a notification on a phone shows."""
    mark = MARKS.get(message.severity, "") if message.action == "trigger" else ""
    head = f"{mark} *{escape(message.title)}*".strip()
    lines = "\n".join(f"{escape(label)}: {escape(text)}" for label, text in message.fields)
    links = [f"<{link}|{label}>" for label, link in (("Acknowledge", message.ack_link), ("Open", message.link)) if link]
    text = "\n".join(part for part in (head, lines) if part)[:MAX_TEXT]
    blocks: list[dict[str, object]] = [_section(text)]
    if links:
        blocks.append(_section(" · ".join(links)))
    return {"text": escape(message.title), "blocks": blocks}


def escape(text: str) -> str:
    """So that no field can mention people or hide a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(text: str) -> dict[str, object]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}

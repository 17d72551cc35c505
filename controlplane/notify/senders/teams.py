"""Teams, by a workflow "Post to a channel when a webhook request is received": an adaptive card in a message."""

import re

import msgspec

from controlplane.notify.senders.http import Poster
from controlplane.notify.senders.message import Message, Sent

COLOURS = {"page": "attention", "warning": "warning"}
MAX_TEXT = 1_000


class TeamsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str


class TeamsSender:
    def __init__(self, poster: Poster) -> None:
        self._poster = poster

    async def send(self, config: bytes, message: Message) -> Sent:
        into = msgspec.json.decode(config, type=TeamsConfig)
        return await self._poster.post(into.url, msgspec.json.encode(teams_body(message)))


def teams_body(message: Message) -> dict[str, object]:
    colour = COLOURS.get(message.severity, "default") if message.action == "trigger" else "good"
    title = {
        "type": "TextBlock", "text": escape(message.title), "weight": "bolder", "size": "medium", "wrap": True,
        "color": colour,
    }  # fmt: skip
    facts = [{"title": label, "value": escape(text[:MAX_TEXT])} for label, text in message.fields]
    links = [
        {"type": "Action.OpenUrl", "title": label, "url": link}
        for label, link in (("Acknowledge", message.ack_link), ("Open", message.link))
        if link
    ]
    card: dict[str, object] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [title, *([{"type": "FactSet", "facts": facts}] if facts else [])],
        **({"actions": links} if links else {}),
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def escape(text: str) -> str:
    """Cards read a part of Markdown: a field must not hide a link behind other words."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", text)

"""Changes of channels, teams and subscriptions, by people who administer every environment."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from controlplane.access.actor import Action
from controlplane.errors import BrownoutError
from controlplane.web.kit.framing import url
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import number
from controlplane.web.notifications.channels import channels_page


class ChannelChangesController(Controller):
    path = "/e/{environment:str}/notifications/channels"
    include_in_schema = False

    @post("/", opt={"action": Action.READ}, status_code=200)
    async def act(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        """`do` is channel, subscription, team, test, pause, resume, replay, or delete-… of one of the former."""
        form = dict(await visit.form())
        try:
            done = await _do(visit, form)
        except BrownoutError as error:
            return await channels_page(visit, environment, error=await visit.refusal(error))
        if done:
            return await channels_page(visit, environment, done=done)
        return Redirect(url(environment, "notifications", "channels"), status_code=303)


async def _do(visit: Visit, form: Mapping[str, str]) -> str:
    """What to say on top of the page; empty when the page says it by itself."""
    service, actor, key = visit.services.notifications, visit.actor, form.get("key", "").strip()
    team = form.get("team") or None
    match form.get("do"):
        case "channel":
            made = await service.put_channel(actor, key, form.get("kind", ""), config_of(form), team)
            return f"{made.key} leads to {made.target}. Send a test to see that it arrives."
        case "subscription":
            await service.put_subscription(
                actor, key, channels_=listed(form.get("channels", "")), kinds=listed(form.get("kinds", "") or "*"),
                environments=listed(form.get("environments", "") or "*"), severity=form.get("severity", ""), team=team,
            )  # fmt: skip
        case "team":
            await service.put_team(actor, key, form.get("name", ""), form.get("contact", ""))
        case "test":
            await service.test(actor, key)
            return f"A test is on its way through {key}. Reload the page in a moment to see what came of it."
        case "pause":
            await service.pause(actor, key, form.get("reason", "") or "paused in the console")
        case "resume":
            await service.resume(actor, key)
        case "replay":
            again = await service.replay(actor, key, timedelta(days=1))
            return f"{again} events of the last day are sent again through {key}."
        case "delete-channel":
            await service.delete_channel(actor, key)
        case "delete-subscription":
            await service.delete_subscription(actor, key)
        case "delete-team":
            await service.delete_team(actor, key)
    return ""


def config_of(form: Mapping[str, str]) -> dict[str, Any]:
    """The form's three fields, as the kind of channel calls them."""
    place, secret = form.get("place", "").strip(), form.get("secret", "").strip()
    match form.get("kind"):
        case "pagerduty":
            return {"routing_key": secret, **({"url": place} if place else {})}
        case "email":
            host, _, port = place.partition(":")
            login = {"username": form.get("sender", "").strip(), "password": secret} if secret else {}
            to = listed(form.get("to", ""))
            sender = form.get("sender", "").strip()
            return {"host": host, "port": number(port, 587), "sender": sender, "to": to, **login}
        case "webhook":
            return {"url": place, "secret": secret}
    return {"url": place}


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]

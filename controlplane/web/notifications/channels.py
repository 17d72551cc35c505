"""Channels, teams and subscriptions: seen by readers, changed by who administers every environment."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from controlplane.access.actor import ANY_ENVIRONMENT, Action
from controlplane.errors import BrownoutError
from controlplane.notify.events import severity_word
from controlplane.notify.values import Subscription, Team
from controlplane.web.access.frame import Tab
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import number
from controlplane.web.notifications.frame import tabs

KINDS = (
    Option("slack", "Slack"),
    Option("teams", "Teams"),
    Option("pagerduty", "PagerDuty"),
    Option("email", "E-mail"),
    Option("webhook", "Webhook"),
)
SEVERITIES = (Option("warning", "Warnings and pages"), Option("page", "Pages only"), Option("notice", "Everything"))
TONES = {"failing": "is-red", "paused": "is-amber"}


class ChannelRow(msgspec.Struct, frozen=True):
    key: str
    kind: str
    target: str
    team: str
    state: str
    tone: str
    note: str
    waiting: int
    delivered_at: datetime | None
    paused: bool
    builtin: bool


class SubscriptionRow(msgspec.Struct, frozen=True):
    key: str
    channels: str
    kinds: str
    environments: str
    severity: str


class ChannelsPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "notifications/channels.html"

    frame: Frame
    tabs: tuple[Tab, ...]
    channels: tuple[ChannelRow, ...]
    subscriptions: tuple[SubscriptionRow, ...]
    teams: tuple[Team, ...]
    team_options: tuple[Option, ...]
    kinds: tuple[Option, ...]
    severities: tuple[Option, ...]
    may_manage: bool
    error: str
    done: str
    here: str


class ChannelsController(Controller):
    path = "/e/{environment:str}/notifications/channels"
    include_in_schema = False

    @get("/", opt={"action": Action.READ})
    async def show(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        return await _page(visit, environment)

    @post("/", opt={"action": Action.READ}, status_code=200)
    async def act(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        """`do` is channel, subscription, team, test, pause, resume, replay, or delete-… of one of the former."""
        form = dict(await visit.form())
        try:
            done = await _do(visit, form)
        except BrownoutError as error:
            return await _page(visit, environment, error=await visit.refusal(error))
        if done:
            return await _page(visit, environment, done=done)
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


async def _page(visit: Visit, environment: str, *, error: str = "", done: str = "") -> Response[Any]:
    service, actor = visit.services.notifications, visit.actor
    teams = await service.list_teams(actor)
    page = ChannelsPage(
        frame=await visit.frame(environment, "notifications"),
        tabs=tabs(visit, environment, "channels"),
        channels=tuple(
            ChannelRow(
                each.key, each.kind, each.target, each.team or "", each.state, TONES.get(each.state, ""),
                each.last_error or (f"by {each.paused_by}" if each.paused_by else ""), each.waiting,
                each.delivered_at, each.paused_at is not None, each.builtin,
            )
            for each in await service.list_channels(actor)
        ),
        subscriptions=tuple(map(_subscription, await service.list_subscriptions(actor))),
        teams=tuple(teams),
        team_options=(Option("", "None"), *(Option(each.key, each.name) for each in teams)),
        kinds=KINDS,
        severities=SEVERITIES,
        may_manage=visit.may(Action.MANAGE_ENVIRONMENT, ANY_ENVIRONMENT),
        error=error,
        done=done,
        here=url(environment, "notifications", "channels"),
    )  # fmt: skip
    return visit.page(page, 422 if error else 200)


def _subscription(one: Subscription) -> SubscriptionRow:
    return SubscriptionRow(
        one.key,
        ", then ".join(one.channels),
        "everything" if "*" in one.kinds else ", ".join(one.kinds),
        "every environment" if "*" in one.environments else ", ".join(one.environments),
        f"{severity_word(one.severity)} and above",
    )

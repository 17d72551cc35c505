"""Channels, teams and subscriptions, as every reader sees them."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from controlplane.access.actor import ANY_ENVIRONMENT, Action
from controlplane.notify.events import severity_word
from controlplane.notify.values import Subscription, Team
from controlplane.web.access.frame import Tab
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
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
        return await channels_page(visit, environment)


async def channels_page(visit: Visit, environment: str, *, error: str = "", done: str = "") -> Response[Any]:
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

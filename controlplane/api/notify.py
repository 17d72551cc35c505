"""Who is told what, and how; and what was told."""

from litestar import Controller, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from controlplane.access.actor import Action, Actor
from controlplane.contract.notify import (
    ChannelInput,
    ChannelList,
    ChannelOutput,
    EventKindList,
    EventOutput,
    EventPage,
    PauseInput,
    Replayed,
    ReplayInput,
    ResumeInput,
    SubscriptionInput,
    SubscriptionList,
    SubscriptionOutput,
    TeamInput,
    TeamList,
    every_kind,
)
from controlplane.http.parameters import Before, Limit, duration
from controlplane.notify.values import Team
from controlplane.services import Services


class TeamController(Controller):
    path = "/api/v1/teams"
    tags = ("notifications",)

    @get("/", operation_id="list_teams", opt={"action": Action.READ})
    async def list_teams(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> TeamList:
        """Every team."""
        return TeamList(await services.notifications.list_teams(actor))

    @put("/{key:str}", operation_id="set_team", opt={"action": Action.MANAGE_ENVIRONMENT}, status_code=200)
    async def set_team(
        self,
        key: FromPath[str],
        data: JSONBody[TeamInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> Team:
        """Creates a team, or changes one."""
        return await services.notifications.put_team(actor, key, data.name, data.contact)

    @delete("/{key:str}", operation_id="delete_team", opt={"action": Action.MANAGE_ENVIRONMENT}, status_code=204)
    async def delete_team(
        self, key: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> None:
        """Refused while channels or subscriptions belong to it."""
        await services.notifications.delete_team(actor, key)


class ChannelController(Controller):
    path = "/api/v1/channels"
    tags = ("notifications",)

    @get("/", operation_id="list_channels", opt={"action": Action.READ})
    async def list_channels(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> ChannelList:
        """Every channel and how it fares, without secrets."""
        found = await services.notifications.list_channels(actor)
        return ChannelList([ChannelOutput.of(each) for each in found])

    @get("/{key:str}", operation_id="get_channel", opt={"action": Action.READ})
    async def get_channel(
        self, key: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> ChannelOutput:
        """One channel."""
        return ChannelOutput.of(await services.notifications.get_channel(actor, key))

    @put("/{key:str}", operation_id="set_channel", opt={"action": Action.MANAGE_ENVIRONMENT}, status_code=200)
    async def set_channel(
        self,
        key: FromPath[str],
        data: JSONBody[ChannelInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> ChannelOutput:
        """Creates a channel, or lets one lead elsewhere. Its configuration is sealed and never returned."""
        made = await services.notifications.put_channel(actor, key, data.kind, dict(data.config), data.team)
        return ChannelOutput.of(made)

    @delete("/{key:str}", operation_id="delete_channel", opt={"action": Action.MANAGE_ENVIRONMENT}, status_code=204)
    async def delete_channel(
        self, key: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> None:
        """Refused while a subscription names it."""
        await services.notifications.delete_channel(actor, key)

    @post("/{key:str}/test", operation_id="test_channel", opt={"action": Action.MANAGE_ENVIRONMENT}, status_code=200)
    async def test(
        self, key: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> EventOutput:
        """Sends a test. The event shows what came of it."""
        found = await services.notifications.test(actor, key)
        return EventOutput.of(found.event, found.deliveries)

    @post("/{key:str}/pause", operation_id="pause_channel", opt={"action": Action.MANAGE_ENVIRONMENT}, status_code=200)
    async def pause(
        self,
        key: FromPath[str],
        data: JSONBody[PauseInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> ChannelOutput:
        """Sends nothing until it is resumed. What it would have sent is kept for seven days; pages go to the next channel."""
        return ChannelOutput.of(await services.notifications.pause(actor, key, data.reason))

    @post(
        "/{key:str}/resume", operation_id="resume_channel", opt={"action": Action.MANAGE_ENVIRONMENT}, status_code=200
    )
    async def resume(
        self,
        key: FromPath[str],
        data: JSONBody[ResumeInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> ChannelOutput:
        """Sends what waited, oldest first, unless `skip` is set."""
        return ChannelOutput.of(await services.notifications.resume(actor, key, skip=data.skip))

    @post(
        "/{key:str}/replay", operation_id="replay_channel", opt={"action": Action.MANAGE_ENVIRONMENT}, status_code=200
    )
    async def replay(
        self,
        key: FromPath[str],
        data: JSONBody[ReplayInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> Replayed:
        """Sends again what it was given, in the same order and under the same ids."""
        return Replayed(key, await services.notifications.replay(actor, key, duration(data.since_s)))


class SubscriptionController(Controller):
    path = "/api/v1/subscriptions"
    tags = ("notifications",)

    @get("/", operation_id="list_subscriptions", opt={"action": Action.READ})
    async def list_subscriptions(
        self, services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> SubscriptionList:
        """Which events go to which channels."""
        found = await services.notifications.list_subscriptions(actor)
        return SubscriptionList([SubscriptionOutput.of(each) for each in found])

    @put("/{key:str}", operation_id="set_subscription", opt={"action": Action.MANAGE_ENVIRONMENT}, status_code=200)
    async def set_subscription(
        self,
        key: FromPath[str],
        data: JSONBody[SubscriptionInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> SubscriptionOutput:
        """Creates a subscription, or changes one."""
        made = await services.notifications.put_subscription(
            actor, key, channels_=data.channels, kinds=data.kinds, environments=data.environments,
            severity=data.severity, team=data.team,
        )  # fmt: skip
        return SubscriptionOutput.of(made)

    @delete(
        "/{key:str}", operation_id="delete_subscription", opt={"action": Action.MANAGE_ENVIRONMENT}, status_code=204
    )
    async def delete_subscription(
        self, key: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> None:
        """Its channels hear of these events no more."""
        await services.notifications.delete_subscription(actor, key)


class EventController(Controller):
    path = "/api/v1/events"
    tags = ("notifications",)

    @get("/", operation_id="list_events", opt={"action": Action.READ})
    async def list_events(
        self,
        *,
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        before: Before = None,
        limit: FromQuery[Limit] = 50,
        environment: FromQuery[str] = "",
        kind: FromQuery[str] = "",
        unacknowledged: FromQuery[bool] = False,
    ) -> EventPage:
        """What happened and who was told, the newest first. `kind` is a kind or a family; `unacknowledged`: pages only."""
        found = await services.notifications.events.list_events(
            actor, environment=environment, kind=kind, unacknowledged=unacknowledged, before=before, limit=limit
        )
        items = [EventOutput.of(each.event, each.deliveries) for each in found]
        return EventPage(items, items[-1].id if len(items) == limit else None)

    @get("/kinds", operation_id="list_event_kinds", opt={"action": Action.READ})
    async def list_kinds(self) -> EventKindList:
        """Every kind of event, with its family and severity."""
        return every_kind()

    @get("/{event:int}", operation_id="get_event", opt={"action": Action.READ})
    async def get_event(
        self, event: FromPath[int], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> EventOutput:
        """One event with its deliveries."""
        found = await services.notifications.events.get_event(actor, event)
        return EventOutput.of(found.event, found.deliveries)

    @post("/{event:int}/ack", operation_id="acknowledge_event", opt={"action": Action.ROLLOUT}, status_code=200)
    async def acknowledge(
        self, event: FromPath[int], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> EventOutput:
        """Says that you have it. Deliveries that still wait stop, and everyone who was told hears who has it."""
        found = await services.notifications.events.acknowledge(actor, event)
        return EventOutput.of(found.event, found.deliveries)

    @post(
        "/{event:int}/replay", operation_id="replay_event", opt={"action": Action.MANAGE_ENVIRONMENT}, status_code=200
    )
    async def replay(
        self, event: FromPath[int], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> EventOutput:
        """Sends it again through every channel that it went to."""
        found = await services.notifications.events.replay_event(actor, event)
        return EventOutput.of(found.event, found.deliveries)

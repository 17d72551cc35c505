"""The fleet over HTTP: who runs what, how commits spread, live."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from litestar import Controller, Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from controlplane.access.actor import Action, Actor
from controlplane.http.streams import while_allowed
from controlplane.services import Services
from controlplane.telemetry.values import FleetSummary, Instances, RefusedList, Spread

MAX_WAIT_S = 60
KEEP_ALIVE_S = 15.0


class FleetController(Controller):
    path = "/api/v1/environments/{environment:str}/fleet"
    tags = ("fleet",)

    @get("/", operation_id="get_fleet", opt={"action": Action.READ})
    async def get_fleet(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> FleetSummary:
        """How many are live, who lags, and how far the latest commit is."""
        return services.telemetry.fleet.summary(actor, environment)

    @get("/instances", operation_id="list_instances", opt={"action": Action.READ})
    async def list_instances(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        *,
        after: FromQuery[str] = "",
        limit: Annotated[int, QueryParameter(ge=1, le=1_000)] = 200,
    ) -> Instances:
        """Every instance heard of within the last hour."""
        items = services.telemetry.fleet.instances(actor, environment, after=after, limit=limit + 1)
        page = items[:limit]
        return Instances(page, page[-1].instance if len(items) > limit else None)

    @get("/refused", operation_id="list_refused", opt={"action": Action.READ})
    async def list_refused(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> RefusedList:
        """What SDKs sent in the last day and was not counted, by SDK key and reason."""
        return await services.telemetry.refused(actor, environment)

    @get("/convergence/{revision:int}", operation_id="get_convergence", opt={"action": Action.READ})
    async def get_convergence(
        self,
        environment: FromPath[str],
        revision: FromPath[int],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        *,
        percent: Annotated[float, QueryParameter(ge=0, le=100, description="Wait until so many have it …")] = 0,
        timeout_s: Annotated[float, QueryParameter(ge=0, le=MAX_WAIT_S, description="… for so long.")] = 0,
    ) -> Spread:
        """How far one revision is among the live instances; with `percent` and `timeout_s`, waits for it."""
        return await services.telemetry.fleet.wait(actor, environment, revision, percent=percent, timeout_s=timeout_s)

    @get("/events", operation_id="watch_fleet", opt={"action": Action.READ})
    async def watch_fleet(
        self,
        request: Request[Any, Any, Any],
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> Stream:
        """Server-sent events `fleet`: the summary now and after every change, until you may read it no more."""
        await services.reads.head(actor, environment)
        events = services.telemetry.fleet.events(actor, environment)
        watched = while_allowed(request, services, environment, _sse(events))
        return Stream(watched, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _sse(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for event in events:
        yield b"event: fleet\ndata: " + event + b"\n\n"

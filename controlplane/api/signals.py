"""Signals over HTTP: charts, the overview's summary, how flags are used."""

from datetime import datetime, timedelta
from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from controlplane.access.actor import Action, Actor
from controlplane.http.parameters import utc
from controlplane.services import Services
from controlplane.telemetry.signals import Filter, parse_labels
from controlplane.telemetry.values import Chart, FlagUse, SignalsSummary

Since = Annotated[datetime | None, QueryParameter(description="RFC 3339; an hour before `until` when absent.")]
Step = Annotated[int | None, QueryParameter(ge=10, le=900, description="10, 30, 60 or 900; by the period when absent.")]
Until = Annotated[datetime | None, QueryParameter(description="RFC 3339; now when absent.")]


class SignalsController(Controller):
    path = "/api/v1/environments/{environment:str}/signals"
    tags = ("signals",)

    @get("/", operation_id="get_signals", opt={"action": Action.READ})
    async def get_signals(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        *,
        since: FromQuery[Since] = None,
        until: FromQuery[Until] = None,
        by: Annotated[str, QueryParameter(description="Labels that make a line, comma-separated.")] = "request_class",
        request_class: FromQuery[str | None] = None,
        model: FromQuery[str | None] = None,
        variant: FromQuery[str | None] = None,
        safe_mode: FromQuery[str | None] = None,
        drill: Annotated[str | None, QueryParameter(description="A drill; empty: requests of none.")] = None,
        prompt: FromQuery[str | None] = None,
        step_s: FromQuery[Step] = None,
    ) -> Chart:
        """Every signal over time, a series for each combination of labels, with what happened meanwhile as marks."""
        start, end = _range(services, since, until)
        return await services.telemetry.signals.chart(
            actor,
            environment,
            since=start,
            until=end,
            only=Filter(request_class, model, variant, safe_mode, drill, prompt),
            by=parse_labels(name.strip() for name in by.split(",") if name.strip()),
            step_s=step_s,
        )

    @get("/summary", operation_id="get_signals_summary", opt={"action": Action.READ})
    async def get_summary(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> SignalsSummary:
        """Each request class now, with the last hour as a value a minute."""
        return await services.telemetry.signals.summary(actor, environment)

    @get("/custom", operation_id="get_custom_signals", opt={"action": Action.READ})
    async def get_custom(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        *,
        since: FromQuery[Since] = None,
        until: FromQuery[Until] = None,
        name: FromQuery[str] = "",
    ) -> Chart:
        """What services track themselves (`client.track`)."""
        start, end = _range(services, since, until)
        return await services.telemetry.signals.custom(actor, environment, since=start, until=end, name=name)

    @get("/flags/{flag:str}", operation_id="get_flag_use", opt={"action": Action.READ})
    async def get_flag_use(
        self,
        environment: FromPath[str],
        flag: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        *,
        hours: Annotated[int, QueryParameter(ge=1, le=24 * 31)] = 24,
    ) -> FlagUse:
        """How often a flag was evaluated, by variant and reason, and when last."""
        return await services.telemetry.signals.flag_use(actor, environment, flag, hours)


def _range(services: Services, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """Raises InvalidInputError for what is not one instant."""
    end = utc("until", until) if until else services.clock.now()
    return (utc("since", since) if since else _hour_before(end)), end


def _hour_before(end: datetime) -> datetime:
    try:
        return end - timedelta(hours=1)
    except OverflowError:
        return end

"""Coverage over HTTP: what answers when something fails, patterns, ranks and prices."""

import csv
import io
from typing import Annotated

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from brownout.model.operating import Pattern
from controlplane.access.actor import Action, Actor
from controlplane.contract.dto import CommitOutput, Input
from controlplane.coverage.service import DAYS, MAX_DAYS
from controlplane.coverage.values import CoverageReport, PatternReport, PriceReport, RankReport
from controlplane.http.conditions import Tagged, tagged
from controlplane.http.parameters import Revision
from controlplane.services import Services

COLUMNS = (
    "request_class",
    "mode",
    "profile",
    "state",
    "rung",
    "answer",
    "error",
    "variants",
    "accepted",
    "accepted_until",
)

OfClass = Annotated[str, QueryParameter(description="Only this request class.")]
OfProfile = Annotated[
    str | None, QueryParameter(description="Only this safe-mode profile; empty is none. All of them when absent.")
]
Days = Annotated[int, QueryParameter(ge=1, le=MAX_DAYS, description="How far back requests count.")]


class PatternInput(Input, frozen=True):
    """Which pattern to add to which request class."""

    request_class: str
    pattern: Pattern


class PatternOutput(msgspec.Struct, frozen=True):
    """The proposal that adds it: nothing has changed yet."""

    proposal: int


class CoverageController(Controller):
    path = "/api/v1/environments/{environment:str}/coverage"
    tags = ("coverage",)

    @get("/", operation_id="get_coverage", opt={"action": Action.READ})
    async def get_coverage(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        *,
        request_class: FromQuery[OfClass] = "",
        profile: FromQuery[OfProfile] = None,
        revision: Revision = None,
    ) -> CoverageReport:
        """What answers each request class in each failure mode, evaluated now or at an earlier revision."""
        return await services.coverage.report(
            actor, environment, request_class=request_class, profile=profile, revision=revision
        )

    @get("/csv", operation_id="get_coverage_csv", opt={"action": Action.READ}, media_type="text/csv")
    async def get_coverage_csv(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        *,
        request_class: FromQuery[OfClass] = "",
        profile: FromQuery[OfProfile] = None,
        revision: Revision = None,
    ) -> Response[str]:
        """The same, a line a cell."""
        found = await services.coverage.report(
            actor, environment, request_class=request_class, profile=profile, revision=revision
        )
        headers = {"Content-Disposition": 'attachment; filename="coverage.csv"'}
        return Response(as_csv(found), media_type="text/csv; charset=utf-8", headers=headers)

    @post("/defaults", operation_id="add_failure_mode_defaults", status_code=200, opt={"action": Action.EDIT})
    async def add_defaults(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> Tagged[CommitOutput]:
        """Commits the standard failure modes that the environment lacks."""
        commit = await services.coverage.add_defaults(actor, environment)
        return tagged(CommitOutput.of(commit), commit)

    @get("/ranks", operation_id="get_failure_mode_ranks", opt={"action": Action.READ})
    async def get_ranks(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        *,
        days: FromQuery[Days] = DAYS,
    ) -> RankReport:
        """Failure modes by impact, requests hit and completion while degraded; the worst first."""
        return await services.coverage.ranks(actor, environment, days)

    @get("/patterns", operation_id="get_patterns", opt={"action": Action.READ})
    async def get_patterns(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        *,
        request_class: FromQuery[OfClass] = "",
    ) -> PatternReport:
        """Each request class and resilience pattern: missing, configured, exercised or stale."""
        return await services.coverage.patterns(actor, environment, request_class)

    @post("/patterns", operation_id="add_pattern", status_code=201, opt={"action": Action.EDIT})
    async def add_pattern(
        self,
        data: JSONBody[PatternInput],
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> PatternOutput:
        """Proposes the change that gives a request class a pattern."""
        made = await services.coverage.add_pattern(actor, environment, data.request_class, data.pattern)
        return PatternOutput(made)

    @get("/prices", operation_id="get_tier_prices", opt={"action": Action.READ})
    async def get_prices(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        *,
        days: FromQuery[Days] = DAYS,
    ) -> PriceReport:
        """What each service tier's requests cost, and what fallbacks cost for each request that they saved."""
        return await services.coverage.prices(actor, environment, days)


def as_csv(report: CoverageReport) -> str:
    """One line a cell, RFC 4180."""
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow(COLUMNS)
    for cell in report.cells:
        variants = " ".join(f"{field}={name}" for field, name in cell.variants.items())
        until = cell.accepted_until.isoformat() if cell.accepted_until else ""
        values = (
            cell.request_class, cell.mode, cell.profile, cell.state, cell.rung or "", cell.answer, cell.error or "",
            variants, cell.accepted, until,
        )  # fmt: skip
        lines.writerow([_plain(value) for value in values])
    return out.getvalue()


def _plain(value: str) -> str:
    """A spreadsheet takes what begins like a formula for one."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value

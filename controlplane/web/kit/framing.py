"""Builds the frame around a page from what the services say."""

from urllib.parse import quote, urlencode

from controlplane.access.actor import Actor
from controlplane.configuration.store.values import Environment
from controlplane.errors import NotFoundError
from controlplane.http.root import at
from controlplane.notify.writer import CHECK as CHANNELS
from controlplane.safemode.values import describe_scope
from controlplane.services import Services
from controlplane.web.kit.frame import EnvironmentLink, FleetState, Frame, NavItem, Person, SafeState
from controlplane.web.kit.words import count, plural

SECTIONS = (
    (("overview", "Overview", ""), ("safe-mode", "Safe mode", "")),
    (
        ("flags", "Flags", "flag"),
        ("cohorts", "Cohorts", "cohort"),
        ("request-classes", "Request classes", "request_class"),
        ("coverage", "Coverage", ""),
        ("rollouts", "Rollouts", "rollout"),
    ),
    (
        ("signals", "Signals", ""),
        ("budgets", "Budgets", ""),
        ("fleet", "Fleet", ""),
        ("history", "History", ""),
        ("playground", "Playground", ""),
        ("notifications", "Notifications", ""),
        ("access", "Access", ""),
    ),
)
"""Path, label and the kind that is counted beside it."""

DEMO = (("demo", "Demo", ""),)


def url(environment: str, *path: str, **query: object) -> str:
    """/e/production/flags/refund-model?…; every page of the console has one."""
    tail = "/".join(quote(part, safe="") for part in path)
    asked = urlencode({name: str(value) for name, value in query.items() if value not in {None, ""}})
    return at(f"/e/{quote(environment, safe='')}" + (f"/{tail}" if tail else "") + (f"?{asked}" if asked else ""))


async def build_frame(services: Services, actor: Actor, environment: str, section: str, person: Person) -> Frame:
    """Raises NotFoundError when this environment is not there, or not theirs to see."""
    found = await services.reads.environments(actor)
    links = tuple(_link(each) for each in found)
    here = next((link for link in links if link.key == environment), None)
    if here is None:
        raise NotFoundError(f"there is no environment {environment}, or you may not see it")
    counts = await services.reads.counts(actor, environment)
    safe = await _safe_state(services, actor, environment) if counts.get("safe_mode_activation") else None
    fleet = services.telemetry.fleet.summary(actor, environment)
    failing = services.health.failing(environment)
    unheard = any(check.name == CHANNELS for check in failing)
    channels = url(environment, "notifications", "channels") if unheard else ""
    return Frame(
        environment=here,
        environments=links,
        nav=_nav(here, section, counts, safe, fleet.live, demo=services.demo.running),
        safe=safe,
        safe_url=url(environment, "safe-mode"),
        fleet=FleetState(fleet.live, fleet.applied, url(environment, "fleet"), len(failing) - unheard, channels),
        person=person,
        now=services.clock.now(),
        csrf="",
        home=url(environment),
        palette_url=url(environment, "palette"),
        gallery=services.demo.running,
    )


async def _safe_state(services: Services, actor: Actor, environment: str) -> SafeState | None:
    active = await services.safe_mode.active(actor, environment)
    if not active:
        return None
    first = active[0]
    return SafeState(
        title=first.profile if len(active) == 1 else plural(len(active), "activation"),
        scope=describe_scope(first.scope) if len(active) == 1 else "",
        actor=first.actor,
        href=url(environment, "safe-mode"),
        expires_at=first.expires_at,
        overdue=any(each.overdue for each in active),
    )


def _link(environment: Environment) -> EnvironmentLink:
    return EnvironmentLink(
        environment.key,
        environment.name or environment.key,
        environment.production,
        environment.revision,
        url(environment.key),
    )


def _nav(
    here: EnvironmentLink, section: str, counts: dict[str, int], safe: SafeState | None, live: int, *, demo: bool
) -> tuple[tuple[NavItem, ...], ...]:
    notes = {"history": f"r{here.revision}", "fleet": count(live), "safe-mode": "off"}
    if safe:
        notes["safe-mode"] = f"{counts.get('safe_mode_activation', 0)} active"
    groups = []
    for group in (*SECTIONS, *((DEMO,) if demo else ())):
        items = []
        for path, label, kind in group:
            note = count(counts.get(kind, 0)) if kind else notes.get(path, "")
            href = url(here.key) if path == "overview" else url(here.key, path)
            degraded = path == "safe-mode" and safe is not None
            items.append(NavItem(label, href, path, note, "degraded" if degraded else "", path == section))
        groups.append(tuple(items))
    return tuple(groups)

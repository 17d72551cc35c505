"""One person's request: who, where, with which services; and the frame around the page it answers with."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from litestar import Request, Response
from litestar.response import Redirect

from brownout.model import SafeModeActivation, Scope
from controlplane.access.actor import PERMISSIONS, Action, Actor
from controlplane.errors import NotFoundError
from controlplane.services import Services
from controlplane.store.values import Environment
from controlplane.web.frame import EnvironmentLink, FleetState, Frame, Link, NavItem, Notice, Person, SafeState
from controlplane.web.render import Templates, View
from controlplane.web.words import count, initials, plural, words

SECTIONS = (
    (("overview", "Overview", ""), ("safe-mode", "Safe mode", "")),
    (
        ("flags", "Flags", "flag"),
        ("cohorts", "Cohorts", "cohort"),
        ("request-classes", "Request classes", "request_class"),
        ("rollouts", "Rollouts", "rollout"),
    ),
    (("signals", "Signals", ""), ("fleet", "Fleet", ""), ("history", "History", ""), ("playground", "Playground", "")),
)
"""Path, label and the kind that is counted beside it."""


def url(environment: str, *path: str, **query: object) -> str:
    """/e/production/flags/refund-model?…; every page of the console has one."""
    tail = "/".join(quote(part, safe="") for part in path)
    asked = urlencode({name: str(value) for name, value in query.items() if value not in {None, ""}})
    return f"/e/{quote(environment, safe='')}" + (f"/{tail}" if tail else "") + (f"?{asked}" if asked else "")


@dataclass(frozen=True)
class Visit:
    """What every console handler gets by the dependency `visit`."""

    request: Request[Any, Any, Any]
    services: Services
    actor: Actor
    templates: Templates

    @property
    def now(self) -> datetime:
        return self.services.clock.now()

    @property
    def partial(self) -> bool:
        """Whether htmx asks for a part of a page it already has."""
        return self.request.headers.get("hx-request") == "true"

    def may(self, action: Action, environment: str) -> bool:
        return any(action in PERMISSIONS[role] for role in self.actor.roles(environment))

    def page(self, view: View, status_code: int = 200) -> Response[Any]:
        return self.templates.response(view, status_code)

    async def form(self) -> list[tuple[str, str]]:
        """The fields that were sent, in order; uploads are nobody's."""
        data = await self.request.form()
        return [(name, value) for name, value in data.multi_items() if isinstance(value, str)]

    async def frame(
        self, environment: str, section: str, *, live: bool = False, notices: tuple[Notice, ...] = ()
    ) -> Frame:
        """Raises NotFoundError, or ForbiddenError, when this environment is not theirs to see."""
        reads = self.services.reads
        found = await reads.environments(self.actor)
        links = tuple(_link(each) for each in found)
        here = next((link for link in links if link.key == environment), None)
        if here is None:
            raise NotFoundError(f"there is no environment {environment}, or you may not see it")
        counts = await reads.counts(self.actor, environment)
        safe = await self._safe_state(environment)
        return Frame(
            environment=here,
            environments=links,
            nav=_nav(here, section, counts, safe),
            safe=safe,
            safe_url=url(environment, "safe-mode"),
            fleet=FleetState(0, 0, url(environment, "fleet")),
            person=self._person(environment),
            now=self.now,
            csrf="",
            home=url(environment),
            palette_url=url(environment, "palette"),
            live_url=url(environment, "live") if live else "",
            gallery=False,
            notices=(*notices, *await self._saved(environment)),
        )

    async def _saved(self, environment: str) -> tuple[Notice, ...]:
        """`?saved=913` after a redirect: what that commit did, and how to undo it."""
        asked = self.request.query_params.get("saved", "")
        if not asked.isdigit():
            return ()
        commit = await self.services.reads.commit(self.actor, environment, int(asked))
        undo = url(environment, "history", str(commit.revision), "restore")
        detail = ". ".join(commit.effective[:4])
        return (Notice(f"Saved as r{commit.revision}", detail, href=undo, action="Undo…"),)

    async def _safe_state(self, environment: str) -> SafeState | None:
        active = await self.services.reads.resources(self.actor, environment, "safe_mode_activation", limit=50)
        if not active.items:
            return None
        specs = [msgspec.json.decode(item.spec, type=SafeModeActivation) for item in active.items]
        soonest = min(specs, key=lambda spec: spec.expires_at)
        title = soonest.profile if len(specs) == 1 else plural(len(specs), "activation")
        return SafeState(
            title=title,
            scope=scope_words(soonest.scope) if len(specs) == 1 else "",
            actor=soonest.actor,
            href=url(environment, "safe-mode"),
            expires_at=soonest.expires_at,
            overdue=soonest.expires_at <= self.now,
        )

    def _person(self, environment: str) -> Person:
        roles = ", ".join(sorted(words(role.value) for role in self.actor.roles(environment)))
        return Person(self.actor.name, initials(self.actor.name), roles, (Link("Access", "/access"),), signs_out=True)


def saved(environment: str, revision: int, *path: str) -> Redirect:
    """After a commit: the page it was made from, saying so."""
    return Redirect(url(environment, *path, saved=revision), status_code=303)


def scope_words(scope: Scope) -> str:
    """everything; services a and b; …"""
    parts = [
        f"{label} {', '.join(names)}"
        for label, names in (
            ("services", scope.services),
            ("request classes", scope.request_classes),
            ("cohorts", scope.cohorts),
            ("providers", scope.providers),
        )
        if names
    ]
    return "; ".join(parts) or "everything"


def _link(environment: Environment) -> EnvironmentLink:
    return EnvironmentLink(
        environment.key,
        environment.name or environment.key,
        environment.key.startswith("prod"),
        environment.revision,
        url(environment.key),
    )


def _nav(
    here: EnvironmentLink, section: str, counts: dict[str, int], safe: SafeState | None
) -> tuple[tuple[NavItem, ...], ...]:
    groups = []
    for group in SECTIONS:
        items = []
        for path, label, kind in group:
            note, tone = (count(counts.get(kind, 0)) if kind else ""), False
            if path == "safe-mode":
                note, tone = (f"{counts.get('safe_mode_activation', 0)} active", True) if safe else ("off", False)
            elif path == "history":
                note = f"r{here.revision}"
            href = url(here.key) if path == "overview" else url(here.key, path)
            items.append(NavItem(label, href, note, "degraded" if tone else "", path == section))
        groups.append(tuple(items))
    return tuple(groups)

"""One person's request: who, where, with which services; and the frame around the page it answers with."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response
from litestar.response import Redirect

from controlplane.access.actor import Action, Actor, allows
from controlplane.errors import BrownoutError, StepUpRequiredError
from controlplane.http.guard import audit_denial
from controlplane.http.root import at
from controlplane.http.step_up import PROOF_FIELDS, form_of
from controlplane.services import Services
from controlplane.web.kit.frame import Frame, Link, Notice, Person
from controlplane.web.kit.framing import build_frame, url
from controlplane.web.kit.render import Templates, View
from controlplane.web.kit.words import initials, number, words


@dataclass(frozen=True)
class Viewer:
    """Whoever looks: a person by a request, or the board that many people watch."""

    services: Services
    actor: Actor
    templates: Templates

    @property
    def now(self) -> datetime:
        return self.services.clock.now()

    def may(self, action: Action, environment: str) -> bool:
        return allows(self.actor.grants, action, environment)


@dataclass(frozen=True)
class Visit(Viewer):
    """What every console handler gets by the dependency `visit`."""

    request: Request[Any, Any, Any]

    @property
    def partial(self) -> bool:
        """Whether htmx asks for a part of a page it already has."""
        return self.request.headers.get("hx-request") == "true"

    def page(self, view: View, status_code: int = 200) -> Response[Any]:
        return self.templates.response(view, status_code)

    async def form(self) -> list[tuple[str, str]]:
        """The fields that were sent, in order, without what proves who sends them; uploads are nobody's."""
        return [(name, value) for name, value in await form_of(self.request) if name not in PROOF_FIELDS]

    async def refusal(self, error: BrownoutError) -> str:
        """What the page says of it; a denial goes on record here as it does when it is the whole answer.

        Raises:
            StepUpRequiredError: that one is asked for by a page of its own, which then goes on with what was sent.
        """
        if isinstance(error, StepUpRequiredError):
            raise error
        await audit_denial(error, self.request.scope)
        return error.message

    async def frame(self, environment: str, section: str, *, notices: tuple[Notice, ...] = ()) -> Frame:
        """Raises NotFoundError, or ForbiddenError, when this environment is not theirs to see."""
        frame = await build_frame(self.services, self.actor, environment, section, self._person(environment))
        return msgspec.structs.replace(
            frame,
            csrf=self.services.access.csrf.token(self.actor.credential) if self.actor.kind == "person" else "",
            live_url=f"{url(environment, 'live')}#{quote(self.actor.principal)}",
            notices=(*notices, *await self._saved(environment)),
        )

    async def _saved(self, environment: str) -> tuple[Notice, ...]:
        """`?saved=913` after a redirect: what that commit did, and how to undo it."""
        asked = self.request.query_params.get("saved", "")
        if not number(asked):
            return ()
        commit = await self.services.reads.commit(self.actor, environment, number(asked))
        switched = all(change.kind == "safe_mode_activation" for change in commit.changes)
        may_undo = self.may(Action.EDIT, environment) and not switched
        undo = url(environment, "undo", str(commit.revision)) if may_undo else ""
        detail = ". ".join(commit.effective[:4])
        return (Notice(f"Saved as r{commit.revision}", detail, href=undo, action="Undo…"),)

    def _person(self, environment: str) -> Person:
        account = (Link("Your account", at("/account")),)
        roles = ", ".join(sorted(words(role.value) for role in self.actor.roles(environment)))
        return Person(self.actor.name, initials(self.actor.name), roles, account, signs_out=self.actor.kind == "person")


def saved(environment: str, revision: int, *path: str) -> Redirect:
    """After a commit: the page it was made from, saying so."""
    return Redirect(url(environment, *path, saved=revision), status_code=303)

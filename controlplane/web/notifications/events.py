"""What happened and who was told; and the demo's inbox."""

from typing import Any, ClassVar

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from controlplane.access.actor import Action
from controlplane.errors import BrownoutError, NotFoundError
from controlplane.http.parameters import Before
from controlplane.notify.kinds import FAMILIES
from controlplane.web.access.frame import Tab
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import number, words
from controlplane.web.notifications.frame import EventRow, row, tabs

PAGE = 50


class EventsPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "notifications/events.html"

    frame: Frame
    tabs: tuple[Tab, ...]
    rows: tuple[EventRow, ...]
    kind: str
    kinds: tuple[Option, ...]
    may_acknowledge: bool
    error: str
    next_href: str
    here: str
    channels_href: str


class InboxRow(EventRow, frozen=True, kw_only=True):
    """`ack_href`: the link that the message carries; empty when it asks for nothing."""

    ack_href: str


class InboxPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "notifications/inbox.html"

    frame: Frame
    tabs: tuple[Tab, ...]
    rows: tuple[InboxRow, ...]
    here: str


class EventsController(Controller):
    path = "/e/{environment:str}/notifications"
    include_in_schema = False

    @get("/", opt={"action": Action.READ})
    async def list_events(
        self,
        visit: NamedDependency[Visit],
        environment: FromPath[str],
        before: Before = None,
        kind: FromQuery[str] = "",
    ) -> Response[Any]:
        return await _events(visit, environment, kind=kind, before=before)

    @post("/", opt={"action": Action.READ}, status_code=200)
    async def acknowledge(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        form = dict(await visit.form())
        try:
            await visit.services.notifications.events.acknowledge(visit.actor, number(form.get("id", "")))
        except BrownoutError as error:
            return await _events(visit, environment, error=await visit.refusal(error))
        return Redirect(url(environment, "notifications"), status_code=303)

    @get("/inbox", opt={"action": Action.READ})
    async def inbox(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        """What the demo's inbox has received."""
        service = visit.services.notifications
        if not service.inbox:
            raise NotFoundError("only a demo has an inbox")
        found = await service.events.list_inbox(visit.actor)
        rows = []
        for each in found:
            made = row(each)
            link = service.events.inbox_link(each.event) if made.asks else ""
            rows.append(InboxRow(**{name: getattr(made, name) for name in made.__struct_fields__}, ack_href=link))
        page = InboxPage(
            frame=await visit.frame(environment, "notifications"),
            tabs=tabs(visit, environment, "inbox"),
            rows=tuple(rows),
            here=url(environment, "notifications", "inbox"),
        )
        return visit.page(page)


async def _events(
    visit: Visit, environment: str, *, kind: str = "", before: int | None = None, error: str = ""
) -> Response[Any]:
    found = await visit.services.notifications.events.list_events(
        visit.actor, environment=environment, kind=kind, before=before, limit=PAGE
    )
    more = url(environment, "notifications", before=found[-1].event.id, kind=kind) if len(found) == PAGE else ""
    page = EventsPage(
        frame=await visit.frame(environment, "notifications"),
        tabs=tabs(visit, environment, ""),
        rows=tuple(map(row, found)),
        kind=kind,
        kinds=(Option("", "Everything"), *(Option(family, words(family)) for family in FAMILIES)),
        may_acknowledge=visit.may(Action.ROLLOUT, environment),
        error=error,
        next_href=more,
        here=url(environment, "notifications"),
        channels_href=url(environment, "notifications", "channels"),
    )
    return visit.page(page, 422 if error else 200)

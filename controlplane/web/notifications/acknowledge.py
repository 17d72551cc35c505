"""The page behind an acknowledgement link. Reading it does nothing: mail scanners follow links; a button acknowledges."""

from typing import Any, ClassVar

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from controlplane.contract.problems import status_of
from controlplane.errors import NotFoundError
from controlplane.notify.events import fields_of
from controlplane.notify.feed import EventDetail
from controlplane.services import Services
from controlplane.web.kit.render import Templates, View


class AcknowledgePage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "notifications/acknowledge.html"

    title: str
    details: tuple[str, ...]
    acknowledged_by: str
    error: str


class AcknowledgeController(Controller):
    path = "/ack/{token:str}"
    include_in_schema = False

    @get("/", opt={"public": True})
    async def show(
        self, token: FromPath[str], services: NamedDependency[Services], templates: NamedDependency[Templates]
    ) -> Response[Any]:
        try:
            return templates.response(_page(await services.notifications.events.by_link(token)))
        except NotFoundError as error:
            return _refused(templates, error)

    @post("/", opt={"public": True}, status_code=200)
    async def acknowledge(
        self, token: FromPath[str], services: NamedDependency[Services], templates: NamedDependency[Templates]
    ) -> Response[Any]:
        try:
            return templates.response(_page(await services.notifications.events.acknowledge_by_link(token)))
        except NotFoundError as error:
            return _refused(templates, error)


def _page(found: EventDetail) -> AcknowledgePage:
    details = tuple(f"{label}: {text}" for label, text in fields_of(found.event.data, found.title))
    return AcknowledgePage(
        title=found.title, details=details, acknowledged_by=found.event.acknowledged_by or "", error=""
    )


def _refused(templates: Templates, error: NotFoundError) -> Response[Any]:
    page = AcknowledgePage(title="Nothing to acknowledge", details=(), acknowledged_by="", error=error.message)
    return templates.response(page, status_of(error))

"""The demo's controls, only where a demo runs: break the provider, degrade the new model, mend both."""

from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from controlplane.access.actor import Action
from controlplane.demo.condition import FAULTS
from controlplane.web.gallery.page import GalleryPage, gallery
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import words

SAYS = {
    "outage": "Calls fail.",
    "rate_limits": "Calls are turned away.",
    "slow": "Answers take many times as long.",
    "refusals": "The model declines most requests.",
}


class Step(msgspec.Struct, frozen=True):
    """What to try, in order, and where."""

    text: str
    href: str
    action: str


class DemoPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "demo/demo.html"

    frame: Frame
    broken: tuple[str, ...]
    faults: tuple[Option, ...]
    degraded: bool
    may_change: bool
    steps: tuple[Step, ...]
    here: str


class DemoPageController(Controller):
    include_in_schema = False

    @get("/e/{environment:str}/demo", opt={"action": Action.READ})
    async def show(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        condition = visit.services.demo.condition(visit.actor)
        broken = []
        if condition.fault:
            broken.append(f"{condition.provider}: {words(condition.fault)}. {SAYS.get(condition.fault, '')}")
        if condition.degraded_model:
            broken.append(f"{condition.degraded_model} refuses, fails and answers worse.")
        return visit.page(
            DemoPage(
                frame=await visit.frame(environment, "demo"),
                broken=tuple(broken),
                faults=tuple(Option(fault, words(fault)) for fault in FAULTS),
                degraded=bool(condition.degraded_model),
                may_change=visit.may(Action.EDIT, environment),
                steps=(
                    Step(
                        "Break the provider, and watch errors and fallbacks rise within a minute.",
                        url(environment),
                        "Overview",
                    ),
                    Step(
                        "Switch safe mode on, and watch the fleet confirm it.",
                        url(environment, "safe-mode", "activate"),
                        "Activate…",
                    ),
                    Step(
                        "Degrade the new model, and watch its rollout roll itself back.",
                        url(environment, "rollouts"),
                        "Rollouts",
                    ),
                    Step("Mend it, and lift safe mode.", url(environment, "safe-mode"), "Safe mode"),
                ),
                here=url(environment, "demo"),
            )
        )

    @post("/e/{environment:str}/demo", opt={"action": Action.EDIT}, status_code=200)
    async def change(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Redirect:
        """`do` is break (with `fault`), degrade or mend."""
        form = dict(await visit.form())
        demo, actor = visit.services.demo, visit.actor
        match form.get("do"):
            case "break":
                demo.break_(actor, form.get("fault", "outage"))
            case "degrade":
                demo.degrade(actor)
            case "mend":
                demo.mend(actor)
        return Redirect(url(environment, "demo"), status_code=303)

    @get("/gallery", opt={"signed_in": True})
    async def show_gallery(self, visit: NamedDependency[Visit]) -> Response[Any]:
        """Every component in every state; where a demo runs, somebody is trying things out."""
        page: GalleryPage = gallery(visit.now)
        return visit.page(page)

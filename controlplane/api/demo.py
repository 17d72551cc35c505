"""The demo's control over HTTP."""

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from controlplane.access.actor import Action, Actor
from controlplane.contract.dto import Input
from controlplane.demo.condition import Condition
from controlplane.services import Services


class BreakInput(Input, frozen=True):
    """`fault`: outage, rate_limits, slow or refusals."""

    fault: str = "outage"


class DemoController(Controller):
    path = "/api/v1/demo"
    tags = ("demo",)

    @get("/", operation_id="get_demo", opt={"action": Action.READ})
    async def get_demo(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> Condition:
        """What is broken at the moment; 404 when no demo runs here."""
        return services.demo.condition(actor)

    @post("/break", operation_id="break_demo", opt={"action": Action.EDIT}, status_code=200)
    async def break_demo(
        self, data: JSONBody[BreakInput], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> Condition:
        """Break the provider of most models."""
        return services.demo.break_(actor, data.fault)

    @post("/degrade", operation_id="degrade_demo", opt={"action": Action.EDIT}, status_code=200)
    async def degrade_demo(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> Condition:
        """Make the model that is being rolled out bad."""
        return services.demo.degrade(actor)

    @post("/mend", operation_id="mend_demo", opt={"action": Action.EDIT}, status_code=200)
    async def mend_demo(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> Condition:
        """Mend everything."""
        return services.demo.mend(actor)

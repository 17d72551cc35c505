"""Budget windows over HTTP: how full they are."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from controlplane.access.actor import Action, Actor
from controlplane.budgets.values import BudgetList
from controlplane.services import Services


class BudgetController(Controller):
    path = "/api/v1/environments/{environment:str}/budgets"
    tags = ("budgets",)

    @get("/", operation_id="get_budgets", opt={"action": Action.READ})
    async def get_budgets(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> BudgetList:
        """Every window of a token budget in its present period: what is used, and when it will be full at this rate."""
        return await services.budgets.list_windows(actor, environment)

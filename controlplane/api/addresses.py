"""Where people and tokens may come from."""

from litestar import Controller, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromQuery, JSONBody

from controlplane.access.actor import ANY_ENVIRONMENT, Action, Actor
from controlplane.access.address_rules import EVERY_ROLE
from controlplane.access.values import AddressRow
from controlplane.contract.access import AddressRuleInput, AddressRuleList
from controlplane.services import Services


class AddressRulesController(Controller):
    path = "/api/v1/address-rules"
    tags = ("people",)

    @get("/", operation_id="list_address_rules", opt={"action": Action.MANAGE_PEOPLE})
    async def list_rules(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> AddressRuleList:
        """Every rule; what no rule speaks of may come from anywhere."""
        return AddressRuleList(await services.access.addresses.list_rules(actor))

    @put("/", operation_id="set_address_rule", opt={"action": Action.MANAGE_PEOPLE}, status_code=200)
    async def set_rule(
        self, data: JSONBody[AddressRuleInput], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> AddressRow:
        """From now on this role counts in this environment only from these networks."""
        rules = services.access.addresses
        return await rules.set_rule(actor, data.environment, data.role, data.networks, force=data.force)

    @delete("/", operation_id="delete_address_rule", opt={"action": Action.MANAGE_PEOPLE}, status_code=204)
    async def delete_rule(
        self,
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        environment: FromQuery[str] = ANY_ENVIRONMENT,
        role: FromQuery[str] = EVERY_ROLE,
    ) -> None:
        """From now on it counts from anywhere again."""
        await services.access.addresses.delete_rule(actor, environment, role)

"""People, their roles and their sessions."""

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, RawBody

from controlplane.access.actor import Action, Actor
from controlplane.access.people import Invitation, welcome_url
from controlplane.access.values import Person
from controlplane.contract.access import DisableInput, GrantInput, InvitationOutput, InviteInput, People, SessionList
from controlplane.kit.strict_json import read_struct
from controlplane.services import Services


class PeopleController(Controller):
    path = "/api/v1/people"
    tags = ("people",)

    @get("/", operation_id="list_people", opt={"action": Action.MANAGE_PEOPLE})
    async def list_people(self, services: NamedDependency[Services], actor: NamedDependency[Actor]) -> People:
        """List people and their roles."""
        return People(await services.access.people.list_people(actor))

    @post("/", operation_id="invite_person", opt={"action": Action.MANAGE_PEOPLE})
    async def invite(
        self, data: JSONBody[InviteInput], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> InvitationOutput:
        """Adds a person. The link lets them in once."""
        made = await services.access.people.invite(actor, data.email, data.name, data.grants)
        return invitation_output(services, made)

    @get("/{person:str}", operation_id="get_person", opt={"action": Action.MANAGE_PEOPLE})
    async def get_person(
        self, person: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> Person:
        """One person, with their roles."""
        return await services.access.people.get(actor, person)

    @post("/{person:str}/grants", operation_id="grant_role", opt={"action": Action.MANAGE_PEOPLE}, status_code=200)
    async def grant(
        self,
        person: FromPath[str],
        data: JSONBody[GrantInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> Person:
        """Gives a role that you hold yourself."""
        return await services.access.people.grant(actor, person, data.environment, data.role)

    @delete(
        "/{person:str}/grants/{environment:str}/{role:str}",
        operation_id="revoke_role",
        opt={"action": Action.MANAGE_PEOPLE},
        status_code=200,
    )
    async def revoke(
        self,
        person: FromPath[str],
        environment: FromPath[str],
        role: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> Person:
        """Takes a role; the last administrator keeps theirs."""
        return await services.access.people.revoke(actor, person, environment, role)

    @post("/{person:str}/reset", operation_id="reset_person", opt={"action": Action.MANAGE_PEOPLE}, status_code=200)
    async def reset(
        self, person: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> InvitationOutput:
        """A new link for a person who cannot sign in."""
        return invitation_output(services, await services.access.people.reset(actor, person))

    @delete(
        "/{person:str}/second-factors",
        operation_id="reset_second_factors",
        opt={"action": Action.MANAGE_PEOPLE},
        status_code=204,
    )
    async def reset_second_factors(
        self, person: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> None:
        """Forgets the second factors of a person who lost theirs, and ends their sessions."""
        await services.access.factors.reset(actor, person)

    @post(
        "/{person:str}/disable",
        operation_id="disable_person",
        opt={"action": Action.MANAGE_PEOPLE, "body": DisableInput},
        status_code=200,
    )
    async def disable(
        self,
        person: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        body: RawBody,
    ) -> Person:
        """Ends their sessions and tokens, and lets them in no more; an heir takes over the tokens of their machines."""
        data = read_struct(body or b"{}", DisableInput)
        return await services.access.people.disable(actor, person, heir=data.heir)

    @post("/{person:str}/enable", operation_id="enable_person", opt={"action": Action.MANAGE_PEOPLE}, status_code=200)
    async def enable(
        self, person: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> Person:
        """Lets them sign in again."""
        return await services.access.people.enable(actor, person)


class SessionsController(Controller):
    path = "/api/v1/sessions"
    tags = ("session",)

    @get("/", operation_id="list_sessions", opt={"signed_in": True})
    async def list_sessions(
        self, services: NamedDependency[Services], actor: NamedDependency[Actor], everybody: FromQuery[bool] = False
    ) -> SessionList:
        """Your own; everybody's for administrators."""
        return SessionList(await services.access.sessions.list_sessions(actor, everybody=everybody))

    @delete("/{session:str}", operation_id="end_session", opt={"signed_in": True}, status_code=204)
    async def end(
        self, session: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> None:
        """Signs that browser out."""
        await services.access.sessions.end(actor, session)


def invitation_output(services: Services, made: Invitation) -> InvitationOutput:
    return InvitationOutput(made.person, made.email, welcome_url(services.settings.url, made.secret), made.expires_at)

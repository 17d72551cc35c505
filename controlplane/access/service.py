"""All of access, wired. Edges get it as `services.access`."""

import secrets
from dataclasses import dataclass

import msgspec

from controlplane.access.alerts import Notify
from controlplane.access.audit import Audit
from controlplane.access.authenticate import Authenticator
from controlplane.access.breakglass import BreakGlass
from controlplane.access.csrf import Csrf
from controlplane.access.grants import parse
from controlplane.access.keys import ApiTokens, SdkKeys
from controlplane.access.memory import ActorMemory
from controlplane.access.oidc import Oidc, OidcSettings
from controlplane.access.passwords import Passwords
from controlplane.access.people import People
from controlplane.access.queries.responders import responders
from controlplane.access.rule import CommitRule
from controlplane.access.sessions import Sessions
from controlplane.access.signin import SignIn
from controlplane.access.signing import SigningRotation
from controlplane.access.sso import SingleSignOn
from controlplane.access.throttle import LoginThrottle, RequestRates
from controlplane.access.withdrawals import Withdrawals
from controlplane.clock import Clock, Monotonic, monotonic
from controlplane.database import Database
from controlplane.errors import InvalidInputError
from controlplane.settings import Settings, SettingsError
from controlplane.store import SigningKeys


@dataclass(frozen=True)
class Access:
    audit: Audit
    withdrawals: Withdrawals
    people: People
    sessions: Sessions
    sign_in: SignIn
    authenticator: Authenticator
    keys: SdkKeys
    tokens: ApiTokens
    csrf: Csrf
    rates: RequestRates
    rule: CommitRule
    signing: SigningRotation
    break_glass: BreakGlass
    database: Database

    async def probe(self) -> dict[str, str]:
        """Whether anybody answers NATS's auth callout; says nothing where none has ever run."""
        async with self.database.reading() as connection:
            known, live = await responders(connection)
        if not known:
            return {}
        return {"authd": "" if live else "no authd answers NATS: running SDKs go on, new connections are refused"}


def open_access(
    settings: Settings,
    database: Database,
    clock: Clock,
    signing_keys: SigningKeys,
    *,
    notify: Notify,
    passwords: Passwords | None = None,
    monotonic: Monotonic = monotonic,
) -> Access:
    audit, memory = Audit(database, clock), ActorMemory(monotonic)
    sessions = Sessions(database, clock, audit, memory, new_id)
    return Access(
        audit=audit,
        withdrawals=Withdrawals(audit),
        people=People(database, clock, audit, memory, new_id),
        sessions=sessions,
        sign_in=SignIn(
            database=database,
            clock=clock,
            audit=audit,
            sessions=sessions,
            memory=memory,
            passwords=passwords or Passwords(),
            throttle=LoginThrottle(monotonic),
            new_id=new_id,
        ),
        authenticator=Authenticator(database, clock, sessions, memory),
        keys=SdkKeys(database=database, clock=clock, audit=audit, memory=memory, signing=signing_keys, new_id=new_id),
        tokens=ApiTokens(database, clock, audit, memory, new_id),
        csrf=Csrf(settings.secret_key.reveal(), settings.url),
        rule=CommitRule(database, clock, audit),
        signing=SigningRotation(database, clock, audit, signing_keys),
        break_glass=BreakGlass(database, clock, audit, notify),
        database=database,
        rates=RequestRates(
            monotonic, per_principal_s=settings.requests_per_principal_s, per_address_s=settings.requests_per_address_s
        ),
    )


def open_sso(settings: Settings, database: Database, clock: Clock, access: Access) -> SingleSignOn | None:
    """None when no provider is configured.

    Raises:
        SettingsError: the mapping from groups to roles is none.
    """
    if not settings.oidc_issuer:
        return None
    try:
        roles = msgspec.json.decode(settings.oidc_roles, type=dict[str, dict[str, list[str]]])
        for given in roles.values():
            parse(given)
    except (msgspec.MsgspecError, InvalidInputError) as error:
        raise SettingsError(f"BROWNOUT_OIDC_ROLES: {error}") from None
    oidc = OidcSettings(
        settings.oidc_issuer,
        settings.oidc_client_id,
        settings.oidc_client_secret.reveal(),
        roles,
        settings.oidc_groups_claim,
    )
    return SingleSignOn(
        database=database,
        clock=clock,
        audit=access.audit,
        sign_in=access.sign_in,
        oidc=Oidc(oidc, settings.secret_key.reveal(), clock),
        new_id=new_id,
    )


def new_id() -> str:
    """Names a row in URLs and in the audit log; 80 random bits, no secret."""
    return secrets.token_hex(10)

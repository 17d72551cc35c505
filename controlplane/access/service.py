"""All of access, wired. Edges get it as `services.access`."""

import secrets
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from controlplane.access.address_rules import AddressRules
from controlplane.access.api_tokens import ApiTokens
from controlplane.access.audit import Audit, Told
from controlplane.access.authenticate import Authenticator, StrengthRules
from controlplane.access.bounds import Bounds
from controlplane.access.breakglass import BreakGlass
from controlplane.access.counting import Counting
from controlplane.access.csrf import Csrf
from controlplane.access.endless import EndlessTokens
from controlplane.access.factors import Factors, app_box
from controlplane.access.grants import parse
from controlplane.access.keys import SdkKeys
from controlplane.access.memory import ActorMemory
from controlplane.access.oidc import Oidc, OidcSettings
from controlplane.access.passes import Passes
from controlplane.access.passkeys import Passkeys
from controlplane.access.passwords import Passwords
from controlplane.access.people import People
from controlplane.access.proofs import Prover
from controlplane.access.queries.responders import responders
from controlplane.access.rule import CommitRule
from controlplane.access.second_factor_rule import parse_requirement
from controlplane.access.sessions import Lifetimes, Sessions
from controlplane.access.signin import SignIn
from controlplane.access.signing import SigningRotation
from controlplane.access.sso import SingleSignOn, sso_box
from controlplane.access.telling import ApproverAlerts
from controlplane.access.throttle import LoginThrottle, RequestRates
from controlplane.access.withdrawals import Withdrawals
from controlplane.configuration.store import SigningKeys
from controlplane.errors import InvalidInputError
from controlplane.kit.addresses import parse_networks
from controlplane.kit.clock import Clock, Monotonic, monotonic
from controlplane.kit.database import Database
from controlplane.kit.notify import Notify
from controlplane.settings import Settings, SettingsError


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
    counting: Counting
    bounds: Bounds
    endless: EndlessTokens
    factors: Factors
    passkeys: Passkeys
    prover: Prover
    addresses: AddressRules
    memory: ActorMemory
    passes: Passes

    async def probe(self) -> dict[str, str]:
        """Whether anybody answers NATS's auth callout; says nothing where none has ever run."""
        async with self.database.reading() as connection:
            known, live = await responders(connection)
        if not known:
            return {}
        return {"authd": "" if live else "no authd answers NATS: running SDKs go on, new connections are refused"}


def build_access(
    settings: Settings,
    database: Database,
    clock: Clock,
    signing_keys: SigningKeys,
    *,
    notify: Notify,
    passwords: Passwords | None = None,
    monotonic: Monotonic = monotonic,
    told: Told | None = None,
) -> Access:
    audit, memory = Audit(database, clock, told), ActorMemory(monotonic)
    bounds = Bounds(
        token=timedelta(days=settings.max_token_days),
        sso_session=timedelta(hours=settings.oidc_roles_hours),
        sso_tokens=timedelta(days=settings.oidc_tokens_days),
    )
    alerts = ApproverAlerts(notify)
    counting = Counting(clock, bounds, timedelta(hours=settings.approval_settle_hours))
    idle, longest = timedelta(minutes=settings.session_idle_minutes), timedelta(hours=settings.session_hours)
    sessions = Sessions(database, clock, audit, memory, new_id, lifetimes=Lifetimes(idle, longest))
    passwords, throttle = passwords or Passwords(), LoginThrottle(monotonic)
    passkeys = Passkeys(database, clock, settings.secret_keys, settings.url)
    box = app_box(settings.secret_keys)
    addresses = AddressRules(
        database, clock, audit, memory, parse_networks(settings.allowed_addresses), monotonic=monotonic
    )
    requirement = parse_requirement(settings.require_second_factor)
    prover = Prover(
        database=database, clock=clock, audit=audit, memory=memory, passwords=passwords, throttle=throttle,
        passkeys=passkeys, box=box, notify=notify,
    )  # fmt: skip
    rules = StrengthRules(
        requirement,
        timedelta(days=settings.second_factor_grace_days),
        timedelta(minutes=settings.step_up_minutes),
    )
    return Access(
        audit=audit,
        withdrawals=Withdrawals(audit),
        people=People(
            database=database,
            clock=clock,
            audit=audit,
            memory=memory,
            alerts=alerts,
            bounds=bounds,
            new_id=new_id,
        ),
        sessions=sessions,
        sign_in=SignIn(
            database=database,
            clock=clock,
            audit=audit,
            sessions=sessions,
            memory=memory,
            passwords=passwords,
            throttle=throttle,
            prover=prover,
            passkeys=passkeys,
            requirement=requirement,
            min_length=settings.password_min_length,
            new_id=new_id,
        ),
        authenticator=Authenticator(
            database=database,
            clock=clock,
            sessions=sessions,
            memory=memory,
            addresses=addresses,
            rules=rules,
            bounds=bounds,
        ),
        keys=SdkKeys(database=database, clock=clock, audit=audit, memory=memory, signing=signing_keys, new_id=new_id),
        tokens=ApiTokens(database=database, clock=clock, audit=audit, memory=memory, bounds=bounds, new_id=new_id),
        csrf=Csrf(settings.secret_keys, settings.url),
        rule=CommitRule(database, clock, audit),
        signing=SigningRotation(database, clock, audit, signing_keys),
        database=database,
        break_glass=BreakGlass(database, clock, audit, counting, notify),
        counting=counting,
        bounds=bounds,
        endless=EndlessTokens(database, notify),
        rates=RequestRates(
            monotonic, per_principal_s=settings.requests_per_principal_s, per_address_s=settings.requests_per_address_s
        ),
        factors=Factors(
            database=database,
            clock=clock,
            audit=audit,
            memory=memory,
            passkeys=passkeys,
            box=box,
            alerts=alerts,
            new_id=new_id,
        ),
        passkeys=passkeys,
        prover=prover,
        addresses=addresses,
        memory=memory,
        passes=Passes(settings.secret_keys, clock, database, bounds.sso_tokens),
    )


def build_sso(settings: Settings, database: Database, clock: Clock, access: Access) -> SingleSignOn | None:
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
        tuple(settings.oidc_acr_values.split()),
        tuple(settings.oidc_amr_values.split()),
    )
    return SingleSignOn(
        database=database,
        clock=clock,
        audit=access.audit,
        memory=access.memory,
        sign_in=access.sign_in,
        oidc=Oidc(oidc, settings.secret_keys, clock),
        box=sso_box(settings.secret_keys),
        every=timedelta(minutes=settings.oidc_recheck_minutes),
        new_id=new_id,
    )


def new_id() -> str:
    """Names a row in URLs and in the audit log; 80 random bits, no secret."""
    return secrets.token_hex(10)

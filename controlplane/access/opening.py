"""Access as one capability: what it is made of, what of it runs."""

from controlplane.access.audit import Told
from controlplane.access.factors import app_vault
from controlplane.access.passwords import Passwords
from controlplane.access.proposals import Gate, Proposals
from controlplane.access.responder import authd_of, open_authd
from controlplane.access.service import Access, build_access, build_sso
from controlplane.access.sso import SingleSignOn, sso_vault
from controlplane.kit.resealing import Resealing, Vault
from controlplane.parts import Parts


async def open_access(
    parts: Parts, passwords: Passwords | None = None, *, told: Told | None = None, vaults: tuple[Vault, ...] = ()
) -> Access:
    """`told` witnesses what is audited; `vaults` are other capabilities' secrets, to be sealed again.

    Raises:
        SecretKeyError: the database holds what none of the secret keys opens.
    """
    settings, database = parts.settings, parts.database
    access = build_access(
        settings,
        database,
        parts.clock,
        parts.signing_keys,
        notify=parts.notify,
        passwords=passwords,
        monotonic=parts.monotonic,
        told=told,
    )
    resealing = Resealing(
        database, (parts.signing_keys.vault, app_vault(settings.secret_keys), sso_vault(settings.secret_keys), *vaults)
    )
    await resealing.check()
    parts.stack.push_async_callback(access.audit.write_counted, every=True)
    parts.run("audit", access.audit.run)
    parts.run("signing_keys", access.signing.run)
    parts.run("sealing", resealing.run)
    parts.run("tokens", access.endless.run)
    if (authd := authd_of(settings)) is not None:
        parts.run("authd", open_authd(authd, parts.clock).run)
    parts.asking.append(access.probe)
    return access


def open_sso(parts: Parts, access: Access) -> SingleSignOn | None:
    """None when no provider is configured. Raises SettingsError: the mapping from groups to roles is none."""
    sso = build_sso(parts.settings, parts.database, parts.clock, access)
    if sso is not None:
        parts.run("single_sign_on", sso.run)
    return sso


def open_proposals(parts: Parts, access: Access, gate: Gate) -> Proposals:
    return Proposals(
        database=parts.database,
        clock=parts.clock,
        audit=access.audit,
        store=parts.store,
        gate=gate,
        counting=access.counting,
    )

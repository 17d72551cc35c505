"""Builds an Authd from settings: its own process's (`brownout authd`), or a replica's that answers by itself."""

from pathlib import Path

import msgspec

from controlplane.access.authd import Authd, AuthdOptions
from controlplane.access.callout import Callout
from controlplane.access.keytable import KeyTable
from controlplane.access.keyuse import KeyUses
from controlplane.access.natsconfig import with_credentials
from controlplane.access.nkeys import KeyPair
from controlplane.kit.clock import Clock
from controlplane.kit.tls import client_tls
from controlplane.settings import Secret, Settings, SettingsError


class AuthdSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What `brownout authd` reads from `BROWNOUT_*`."""

    database_url: Secret
    nats_url: str
    nats_issuer_seed: Secret
    """The seed that signs SDK connections."""
    nats_authd_password: Secret
    nats_system_password: Secret
    authd_copy: str = ""
    nats_ca: str = ""
    nats_cert: str = ""
    nats_key: str = ""


def authd_of(settings: Settings) -> AuthdSettings | None:
    """The replica's own, when it has all three secrets."""
    parts = (settings.nats_issuer_seed, settings.nats_authd_password, settings.nats_system_password)
    if not all(parts):
        return None
    return AuthdSettings(
        database_url=settings.database_url,
        nats_url=settings.nats_url,
        nats_issuer_seed=settings.nats_issuer_seed,
        nats_authd_password=settings.nats_authd_password,
        nats_system_password=settings.nats_system_password,
        authd_copy=settings.authd_copy,
        nats_ca=settings.nats_ca,
        nats_cert=settings.nats_cert,
        nats_key=settings.nats_key,
    )


def open_authd(settings: AuthdSettings, clock: Clock) -> Authd:
    """Raises SettingsError when the seed is not an nkey."""
    try:
        issuer = KeyPair.from_seed(settings.nats_issuer_seed.reveal())
    except ValueError as error:
        raise SettingsError(f"BROWNOUT_NATS_ISSUER_SEED: {error}") from None
    copy = Path(settings.authd_copy) if settings.authd_copy else None
    table = KeyTable(copy)
    options = AuthdOptions(
        with_credentials(settings.nats_url, "authd", settings.nats_authd_password.reveal()),
        with_credentials(settings.nats_url, "system", settings.nats_system_password.reveal()),
        settings.database_url.reveal(),
        client_tls(settings.nats_ca, settings.nats_cert, settings.nats_key),
    )
    uses = KeyUses()
    return Authd(options, Callout(issuer, table, uses), table, uses, clock)

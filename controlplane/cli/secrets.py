"""`brownout secret`: changing BROWNOUT_SECRET_KEY. Runs where the control plane's settings are."""

import asyncio
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click
import msgspec

from controlplane.cli.command import Noun
from controlplane.cli.servers import refusing
from controlplane.cli.shown import table
from controlplane.cli.terminal import Terminal
from controlplane.settings import Secret, read_struct, secret_keys

if TYPE_CHECKING:
    from controlplane.kit.resealing import SealStatus

app = Noun("secret", "The key that encrypts secrets at rest.")


class Keys(msgspec.Struct, frozen=True):
    """What of the control plane's settings these verbs need."""

    database_url: Secret
    secret_key: Secret
    secret_key_previous: Secret = Secret("")


def status() -> None:
    """Show how much still needs a previous key. Reads BROWNOUT_DATABASE_URL, BROWNOUT_SECRET_KEY and _PREVIOUS."""
    _show(rotate_first=False)


def rotate() -> None:
    """Seal everything with BROWNOUT_SECRET_KEY now; then BROWNOUT_SECRET_KEY_PREVIOUS can be dropped."""
    _show(rotate_first=True)


app.add("status", status)
app.add("rotate", rotate)


def _show(*, rotate_first: bool) -> None:
    with refusing():
        found = asyncio.run(_status(read_struct(Keys, os.environ), rotate_first=rotate_first))
    rows = [(name, str(each.secrets), str(each.previous), str(each.lost)) for name, each in found.items()]
    Terminal().print(table(("what", "secrets", "with a previous key", "that no key opens"), rows))
    if any(each.lost for each in found.values()):
        click.echo("some secrets open with no key that is set: add theirs to BROWNOUT_SECRET_KEY_PREVIOUS", err=True)
        raise click.exceptions.Exit(1)
    if any(each.previous for each in found.values()):
        click.echo("BROWNOUT_SECRET_KEY_PREVIOUS is still needed: run `brownout secret rotate`")
    else:
        click.echo("everything is sealed with BROWNOUT_SECRET_KEY; no previous key is needed")


async def _status(given: Keys, *, rotate_first: bool) -> "Mapping[str, SealStatus]":
    from controlplane.access.factors import app_vault
    from controlplane.access.sso import sso_vault
    from controlplane.configuration.store import SigningKeys
    from controlplane.kit.clock import SystemClock
    from controlplane.kit.database import Database
    from controlplane.kit.resealing import Resealing

    keys = secret_keys(given.secret_key, given.secret_key_previous)
    database = Database(given.database_url.reveal(), pool_size=2)
    try:
        signing = SigningKeys(database, SystemClock(), keys)
        resealing = Resealing(database, (signing.vault, app_vault(keys), sso_vault(keys)))
        if rotate_first:
            await resealing.reseal()
        return await resealing.status()
    finally:
        await database.close()

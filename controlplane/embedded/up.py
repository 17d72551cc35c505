"""`brownout up`: everything from one directory, in order, and ended in reverse."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec

from brownout.wire import SdkKey
from controlplane.access.actor import system_actor
from controlplane.database import Database
from controlplane.embedded.data_dir import DataDir, Ports, Secrets
from controlplane.embedded.stack import Stack, choose_port, create_database, running
from controlplane.server import listen, serve
from controlplane.services import Services
from controlplane.settings import Secret, Settings
from controlplane.store.migrate import migrate

HTTP_PORT = 8321
ENVIRONMENTS = {"production": "Production", "staging": "Staging"}
SETUP = system_actor("system:setup")


class Asked(msgspec.Struct, frozen=True):
    """What the person typed; port 0 = any."""

    host: str = "127.0.0.1"
    http_port: int = 0
    postgres_port: int = 0
    nats_port: int = 0
    demo: bool = False
    log_format: Literal["console", "json"] = "console"


class Up(msgspec.Struct, frozen=True):
    """Where everything is."""

    url: str
    nats_url: str
    data_dir: Path
    cli_file: Path
    sdk_keys_file: Path


def bring_up(directory: DataDir, asked: Asked, greet: Callable[[Up], None]) -> None:
    """Runs until SIGINT or SIGTERM; `greet` hears when requests are answered.

    Raises:
        StartError: one sentence about what is in the way.
    """
    http_port = choose_port(asked.http_port, directory.ports().http, HTTP_PORT)
    kept = directory.secrets()
    with (
        closing(listen(asked.host, http_port)) as listener,
        running(directory, postgres_port=asked.postgres_port, nats_port=asked.nats_port) as stack,
    ):
        directory.keep_ports(Ports(http_port, stack.ports.postgres, stack.ports.nats))
        asyncio.run(_database(stack.database_url))
        settings = _settings(asked, http_port, stack, kept)

        async def prepare(services: Services) -> None:
            await _seed(services)
            keys = await _sdk_keys(services, kept)
            greet(_written(directory, settings, stack.nats_url, keys))

        serve(settings, listener, prepare)


async def _database(url: str) -> None:
    await create_database(url)
    database = Database(url, pool_size=1)
    try:
        await migrate(database)
    finally:
        await database.close()


def _settings(asked: Asked, http_port: int, stack: Stack, kept: Secrets) -> Settings:
    return Settings(
        database_url=Secret(stack.database_url),
        secret_key=Secret(kept.secret_key),
        nats_url=stack.nats_url.replace("://", f"://{kept.nats_token}@"),
        admin_token=Secret(kept.admin_token),
        host=asked.host,
        port=http_port,
        log_format=asked.log_format,
        log_level="warning",
    )


async def _seed(services: Services) -> None:
    present = {environment.key for environment in await services.store.list_environments()}
    for key, name in ENVIRONMENTS.items():
        if key not in present:
            await services.environments.create(SETUP, key, name)


async def _sdk_keys(services: Services, kept: Secrets) -> dict[str, str]:
    """One key an environment, pinning its present signing key."""
    keys: dict[str, str] = {}
    for environment in await services.store.list_environments():
        signing = await services.signing_keys.current(environment.key)
        keys[environment.key] = SdkKey.format(kept.nats_token, signing.kid, signing.public)
    return keys


def _written(directory: DataDir, settings: Settings, nats_url: str, keys: dict[str, str]) -> Up:
    target = {"url": settings.url, "token": settings.admin_token.reveal(), "nats_url": nats_url}
    return Up(
        url=settings.url,
        nats_url=nats_url,
        data_dir=directory.path,
        cli_file=directory.write_private("cli.json", msgspec.json.format(msgspec.json.encode(target))),
        sdk_keys_file=directory.write_private("sdk-keys.json", msgspec.json.format(msgspec.json.encode(keys))),
    )

"""`brownout up`: everything from one directory, in order, and ended in reverse."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

import msgspec

from controlplane.access.actor import system_actor
from controlplane.access.natsconfig import CONTROL_USER
from controlplane.access.people import welcome_url
from controlplane.cli.session import Target
from controlplane.configuration.store.migrate import migrate
from controlplane.demo.control import ENVIRONMENT as DEMO_ENVIRONMENT
from controlplane.demo.document import DEMO_PRICES, load_demo
from controlplane.demo.rollout import start_rollout
from controlplane.embedded.data_dir import DataDir, Ports
from controlplane.embedded.demo_fleet import DemoFleet, control_file
from controlplane.embedded.local_access import local_sdk_keys, local_token
from controlplane.embedded.stack import Stack, choose_port, create_database, running
from controlplane.kit.addresses import url as server_url
from controlplane.kit.database import Database
from controlplane.server import listen, serve
from controlplane.services import Services
from controlplane.settings import Secret, Settings, parse_public_url

HTTP_PORT = 8321
ENVIRONMENTS = {"production": "Production", "staging": "Staging"}
SETUP = system_actor("system:setup")
DEMO = system_actor("system:demo")
CLI_FILE = "cli.json"
SDK_KEYS_FILE = "sdk-keys.json"


class Asked(msgspec.Struct, frozen=True):
    """What the person typed; port 0 = any."""

    host: str = "127.0.0.1"
    http_port: int = 0
    postgres_port: int = 0
    nats_port: int = 0
    demo: bool = False
    demo_speed: int = 1
    log_format: Literal["console", "json"] = "console"
    public_url: str = ""


class Up(msgspec.Struct, frozen=True):
    """Where everything is."""

    url: str
    nats_url: str
    data_dir: Path
    cli_file: Path
    sdk_keys_file: Path
    setup_url: str
    """Where the first person sets a password; works once. Empty when there is somebody already."""


def bring_up(directory: DataDir, asked: Asked, greet: Callable[[Up], None]) -> None:
    """Runs until SIGINT or SIGTERM; `greet` hears when requests are answered.

    Raises:
        StartError: one sentence about what is in the way.
    """
    http_port = choose_port(asked.http_port, directory.ports().http, HTTP_PORT)
    with (
        closing(listen(asked.host, http_port)) as listener,
        running(directory, postgres_port=asked.postgres_port, nats_port=asked.nats_port) as stack,
    ):
        directory.keep_ports(Ports(http_port, stack.ports.postgres, stack.ports.nats))
        asyncio.run(_database(stack.database_url))
        settings = _settings(directory, asked, http_port, stack)
        fleet = DemoFleet() if asked.demo else None

        async def prepare(services: Services) -> None:
            await _seed(services, asked)
            token = await local_token(services, SETUP, directory.path / CLI_FILE)
            keys = await local_sdk_keys(services, SETUP, directory.path / SDK_KEYS_FILE)
            setup = await services.access.people.setup_secret(SETUP)
            if fleet is not None:
                fleet.start(directory, stack.nats_url, keys[DEMO_ENVIRONMENT], asked.demo_speed)
            holder = await services.access.authenticator.by_bearer(token, "")
            await services.emergency.refresh()
            operator_pass = services.access.passes.issue(holder) or ""
            local = Target(server_url(settings.host, settings.port), token, stack.nats_url, operator_pass)
            greet(_written(directory, local, keys, settings.url, setup))

        try:
            serve(settings, listener, prepare, stack.failure)
        finally:
            if fleet is not None:
                fleet.stop()


async def _database(url: str) -> None:
    await create_database(url)
    database = Database(url, pool_size=1)
    try:
        await migrate(database)
    finally:
        await database.close()


def _settings(directory: DataDir, asked: Asked, http_port: int, stack: Stack) -> Settings:
    return Settings(
        database_url=Secret(stack.database_url),
        secret_key=Secret(directory.secrets().secret_key),
        nats_url=stack.nats_url,
        nats_user=CONTROL_USER,
        nats_password=Secret(stack.nats_secrets.app_password),
        nats_issuer_seed=Secret(stack.nats_secrets.issuer_seed),
        nats_authd_password=Secret(stack.nats_secrets.auth_password),
        nats_system_password=Secret(stack.nats_secrets.system_password),
        authd_copy=str(directory.path / "sdk-key-table.json"),
        emergency_dir=str(directory.path / "emergency"),
        demo_control=str(control_file(directory)) if asked.demo else "",
        prices=DEMO_PRICES if asked.demo else "",
        host=asked.host,
        port=http_port,
        public_url=parse_public_url(asked.public_url),
        log_format=asked.log_format,
        log_level="warning",
    )


async def _seed(services: Services, asked: Asked) -> None:
    """The environments, and the demo inside: once, so that what was changed since stays changed."""
    present = {environment.key for environment in await services.store.list_environments()}
    for key, name in ENVIRONMENTS.items():
        if key not in present:
            await services.environments.create(SETUP, key, name)
        commits = await services.store.list_commits(key, author=DEMO.name, limit=1)
        if asked.demo and not commits:
            await load_demo(services.documents, DEMO, key, asked.demo_speed)
            if key == DEMO_ENVIRONMENT:
                await start_rollout(services.rollouts, DEMO, key, asked.demo_speed)


def _written(directory: DataDir, target: Target, keys: dict[str, str], url: str, setup: str | None) -> Up:
    return Up(
        url=url,
        nats_url=target.nats_url,
        data_dir=directory.path,
        cli_file=directory.write_private(CLI_FILE, msgspec.json.format(msgspec.json.encode(target))),
        sdk_keys_file=directory.write_private(SDK_KEYS_FILE, msgspec.json.format(msgspec.json.encode(keys))),
        setup_url=welcome_url(url, setup) if setup else "",
    )

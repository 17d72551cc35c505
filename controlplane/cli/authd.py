"""`brownout authd`, `brownout nats-config`, `brownout setup-link`: what runs beside the control plane, or before it."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import click

from controlplane.cli.command import Argument, Noun, Option
from controlplane.cli.servers import refusing
from controlplane.settings import Secret, read_struct, read_value


def register(app: Noun) -> None:
    app.add("authd", authd)
    app.add("nats-config", nats_config)
    app.add("nats-cluster", nats_cluster)
    app.add("setup-link", setup_link)


def authd() -> None:
    """Answer NATS's auth callout: an SDK key opens its own environment. Run two or more."""
    from controlplane.access.responder import AuthdSettings, open_authd
    from controlplane.kit.clock import PostgresClock
    from controlplane.kit.logs import configure_logging

    with refusing():
        settings = read_struct(AuthdSettings, os.environ)
        configure_logging("json", "info")
        responder = open_authd(settings, PostgresClock())
        try:
            asyncio.run(responder.run())
        except KeyboardInterrupt:
            raise click.exceptions.Exit(0) from None


def nats_config(
    secrets: Annotated[Path, Option(help="Where the passwords and the seed are kept (made when absent, 0600).")],
    *,
    environment: Annotated[bool, Option("--env", help="Print BROWNOUT_* variables instead.")] = False,
) -> None:
    """Print the nats-server configuration that delegates authentication to authd."""
    from controlplane.access.natsconfig import CONTROL_USER, NatsSecrets, accounts_config

    kept = NatsSecrets.load(secrets)
    if not environment:
        click.echo(accounts_config(kept))
        return
    for name, value in (
        ("NATS_USER", CONTROL_USER),
        ("NATS_PASSWORD", kept.app_password),
        ("NATS_AUTHD_PASSWORD", kept.auth_password),
        ("NATS_SYSTEM_PASSWORD", kept.system_password),
        ("NATS_ISSUER_SEED", kept.issuer_seed),
    ):
        click.echo(f"BROWNOUT_{name}={value}")


def nats_cluster(
    nodes: Annotated[list[str], Argument(help="The host names of the cluster's nodes.")],
    *,
    out: Annotated[Path, Option(help="The folder to write to; its secrets and its authority are made once and kept.")],
    also: Annotated[
        list[str] | None,
        Option(help="Another host, or a URL with it, by which SDKs reach the nodes; repeatable."),
    ] = None,
) -> None:
    """Write a folder for each node (configuration, certificate) and one for the control planes (secrets, authority)."""
    from controlplane.access.deployment import write_deployment
    from controlplane.kit.clock import SystemClock

    write_deployment(out, nodes, also or [], SystemClock().now())


def setup_link() -> None:
    """Print the one-time link for the first account. Reads BROWNOUT_DATABASE_URL and BROWNOUT_PUBLIC_URL."""
    with refusing():
        database_url = read_value("DATABASE_URL", Secret, os.environ)
        public_url = read_value("PUBLIC_URL", str, os.environ)
        secret = asyncio.run(_setup_secret(database_url.reveal()))
    if secret is None:
        click.echo("the first account exists already: ask an administrator for an invitation", err=True)
        raise click.exceptions.Exit(1)
    from controlplane.access.people import welcome_url

    click.echo(welcome_url(public_url.rstrip("/"), secret))


async def _setup_secret(url: str) -> str | None:
    from controlplane.access.actor import system_actor
    from controlplane.access.people import setup_secret
    from controlplane.kit.clock import SystemClock
    from controlplane.kit.database import Database

    database, clock = Database(url, pool_size=1), SystemClock()
    try:
        return await setup_secret(database, clock, system_actor("system:setup"))
    finally:
        await database.close()

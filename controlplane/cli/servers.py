"""The verbs that run things: `up`, `serve`, `migrate`."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import click

from controlplane.cli.command import Noun, Option
from controlplane.cli.session import DATA_DIR
from controlplane.cli.terminal import Terminal, styled
from controlplane.contract.problems import INTERRUPTED, REFUSED
from controlplane.embedded.data_dir import DataDir
from controlplane.embedded.processes import StartError
from controlplane.errors import BrownoutError
from controlplane.settings import Secret, SettingsError, load_settings, read_value

if TYPE_CHECKING:
    from controlplane.embedded.up import Up

# The servers' own code is imported when one starts: `brownout safe-mode on` must not wait for it.


def register(app: Noun) -> None:
    app.add("up", up)
    app.add("serve", serve_)
    app.add("migrate", migrate_)


def up(
    *,
    data_dir: Annotated[Path, Option(help="Where everything is kept.", envvar="BROWNOUT_DATA_DIR")] = Path(DATA_DIR),
    host: Annotated[str, Option(help="Where the console and the API listen.")] = "127.0.0.1",
    port: Annotated[
        int, Option(min=0, max=65535, help="Their port. 0 = the port of last time, else 8321, else a free one.")
    ] = 0,
    postgres_port: Annotated[int, Option(min=0, max=65535, help="0 = the port of last time, else a free one.")] = 0,
    nats_port: Annotated[int, Option(min=0, max=65535, help="0 = the port of last time, else a free one.")] = 0,
    demo: Annotated[bool, Option("--demo", help="Run a demo: a support copilot with traffic and a rollout.")] = False,
    demo_speed: Annotated[
        int,
        Option(min=1, max=20, help="Speed up the demo's traffic and the stages of its rollout by this factor."),
    ] = 1,
    log_format: Annotated[Literal["console", "json"], Option(help="The format of the log.")] = "console",
    public_url: Annotated[
        str, Option(help="The console's URL behind a proxy, with its path if it has one.", envvar="BROWNOUT_PUBLIC_URL")
    ] = "",
) -> None:
    """Start Postgres, NATS, the control plane and its console from one directory; Ctrl-C ends them."""
    from controlplane.embedded.up import Asked, bring_up
    from controlplane.kit.logs import configure_logging

    configure_logging(log_format, "warning")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the server has handlers of its own
    directory = DataDir(data_dir)
    with refusing():
        try:
            directory.claim()
            bring_up(
                directory, Asked(host, port, postgres_port, nats_port, demo, demo_speed, log_format, public_url), greet
            )
        finally:
            directory.release()


def serve_() -> None:
    """Run the control plane on external servers: BROWNOUT_DATABASE_URL, BROWNOUT_NATS_URL, BROWNOUT_SECRET_KEY."""
    from controlplane.kit.logs import configure_logging
    from controlplane.server import listen, serve

    with refusing():
        settings = load_settings(os.environ)
        configure_logging(settings.log_format, settings.log_level)
        with closing(listen(settings.host, settings.port)) as listener:
            serve(settings, listener)


def migrate_() -> None:
    """Bring the database at BROWNOUT_DATABASE_URL to this version's schema."""
    from controlplane.kit.logs import configure_logging

    with refusing():
        url = read_value("DATABASE_URL", Secret, os.environ)
        configure_logging("console", "warning")
        version = asyncio.run(_migrate(url.reveal()))
        click.echo(f"the database is at schema {version}")


async def _migrate(url: str) -> str:
    from controlplane.configuration.store.migrate import migrate
    from controlplane.kit.database import Database

    database = Database(url, pool_size=1)
    try:
        return await migrate(database)
    finally:
        await database.close()


def greet(up: "Up") -> None:
    out = Terminal()
    out.print(f"{styled('green', 'Brownout is up.')} Ctrl-C ends it.\n")
    for what, where in (
        ("console", up.url),
        ("API", f"{up.url}/api/v1 (described at {up.url}/api/openapi.json)"),
        ("NATS", up.nats_url),
        ("token", f"{up.cli_file} (the brownout command finds it)"),
        ("SDK keys", str(up.sdk_keys_file)),
        ("data", str(up.data_dir)),
    ):
        out.print(f"  {styled('dim', f'{what:<9}')}{where}")
    if up.setup_url:
        out.print("\n  Set up the first account (this link works once, for a day):")
        out.print(f"  {styled('bold', up.setup_url)}")
    trial = styled("bold", 'brownout safe-mode on contain --for 10m --reason "trying it"')
    out.print(f"\n  Try: {trial}\n")
    sys.stdout.flush()


@contextmanager
def refusing() -> Iterator[None]:
    """What stops a start is one sentence, not a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
    except (StartError, SettingsError, BrownoutError) as error:
        click.echo(f"brownout: {error}", err=True)
        raise click.exceptions.Exit(REFUSED) from None

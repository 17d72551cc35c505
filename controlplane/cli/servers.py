"""The verbs that run things: `up`, `serve`, `migrate`."""

import asyncio
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console

from controlplane.cli.session import DATA_DIR, Target
from controlplane.embedded.data_dir import DataDir, Ports
from controlplane.embedded.processes import StartError
from controlplane.embedded.stack import Stack, choose_port, create_database, running
from controlplane.logs import configure_logging
from controlplane.problems import REFUSED
from controlplane.server import listen, serve
from controlplane.settings import Secret, Settings, SettingsError, load_settings

HTTP_PORT = 8321


def register(app: typer.Typer) -> None:
    app.command("up")(up)
    app.command("serve")(serve_)


def up(
    *,
    data_dir: Annotated[Path, typer.Option(help="Where everything is kept.", envvar="BROWNOUT_DATA_DIR")] = Path(
        DATA_DIR
    ),
    host: Annotated[str, typer.Option(help="Where the console and the API listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Their port; 0 = that of last time, else 8321, else any free one.")] = 0,
    postgres_port: Annotated[int, typer.Option(help="0 = that of last time, else any free one.")] = 0,
    nats_port: Annotated[int, typer.Option(help="0 = that of last time, else any free one.")] = 0,
    log_format: Annotated[str, typer.Option(help="console or json.")] = "console",
) -> None:
    """Start Postgres, NATS, the control plane and its console from one directory; Ctrl-C ends them."""
    configure_logging(log_format, "info")
    directory = DataDir(data_dir)
    try:
        directory.claim()
        _run(directory, host, port, postgres_port, nats_port)
    except StartError as error:
        _refuse(str(error))
    finally:
        directory.release()


def _run(directory: DataDir, host: str, port: int, postgres_port: int, nats_port: int) -> None:
    kept = directory.ports()
    http_port = choose_port(port, kept.http, HTTP_PORT)
    secrets = directory.secrets()
    with (
        closing(listen(host, http_port)) as listener,
        running(directory, postgres_port=postgres_port, nats_port=nats_port) as stack,
    ):
        directory.keep_ports(Ports(http_port, stack.ports.postgres, stack.ports.nats))
        asyncio.run(create_database(stack.database_url))
        settings = Settings(
            database_url=Secret(stack.database_url),
            secret_key=Secret(secrets.secret_key),
            nats_url=stack.nats_url,
            nats_password=Secret(secrets.nats_token),
            admin_token=Secret(secrets.admin_token),
            host=host,
            port=http_port,
            log_format="console",
        )
        target = Target(settings.url, secrets.admin_token, stack.nats_url)
        directory.write_private("cli.json", msgspec.json.encode(target))
        serve(settings, listener, on_ready=lambda _: _greet(directory, settings, stack))


def serve_() -> None:
    """Run the control plane on external servers: BROWNOUT_DATABASE_URL, BROWNOUT_NATS_URL, BROWNOUT_SECRET_KEY."""
    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        _refuse(str(error))
    configure_logging(settings.log_format, settings.log_level)
    try:
        with closing(listen(settings.host, settings.port)) as listener:
            serve(settings, listener)
    except StartError as error:
        _refuse(str(error))


def _greet(directory: DataDir, settings: Settings, stack: Stack) -> None:
    out = Console(highlight=False, soft_wrap=True)
    out.print("[bold green]Brownout is up.[/]")
    for what, where in (
        ("console", settings.url),
        ("API", f"{settings.url}/api/v1"),
        ("NATS", stack.nats_url),
        ("token", str(directory.path / "cli.json")),
    ):
        out.print(f"  {what:<8} {where}")
    sys.stdout.flush()


def _refuse(message: str) -> NoReturn:
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"brownout: {message}", markup=False)
    raise typer.Exit(REFUSED)

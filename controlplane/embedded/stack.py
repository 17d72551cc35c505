"""Postgres, NATS and everything they need to be found again, for `brownout up`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import asyncpg
import msgspec
import structlog

from controlplane.access.natsconfig import NatsSecrets, accounts_config
from controlplane.embedded.data_dir import DataDir, Ports
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.embedded.processes import StartError, free_port, port_is_free
from controlplane.kit.clock import Monotonic, monotonic

log = structlog.get_logger(__name__)

DATABASE = "brownout"
BACKOFF_S = (0.5, 30.0)
"""Between two starts of NATS; a NATS that ran for longer than the second begins anew."""


class Stack(msgspec.Struct, frozen=True):
    """Running servers. `database_url` is a libpq URL."""

    database_url: str
    nats_url: str
    nats_secrets: NatsSecrets
    ports: Ports
    failure: Callable[[], str]
    """Looks after them; why they cannot go on, in a sentence, or nothing."""


def choose_port(asked: int, remembered: int, preferred: int = 0) -> int:
    """The port asked for, or that of last time, or the usual one, or any.

    Raises:
        StartError: the port asked for is taken.
    """
    if asked:
        if not port_is_free(asked):
            raise StartError(f"port {asked} on 127.0.0.1 is already in use")
        return asked
    for port in (remembered, preferred):
        if port and port_is_free(port):
            break
    else:
        port = free_port()
    if remembered not in {0, port}:
        log.warning("port_of_last_time_is_taken", port=remembered, instead=port)
    return port


@contextmanager
def running(data_dir: DataDir, *, postgres_port: int = 0, nats_port: int = 0) -> Iterator[Stack]:
    """Starts both servers and ends them on leaving. Whoever connects to NATS is asked about at the auth callout."""
    kept = data_dir.ports()
    nats_secrets = _nats_secrets(data_dir.path / "nats-secrets.json")
    postgres = EmbeddedPostgres(data_dir.path / "postgres")
    nats = EmbeddedNats(data_dir.path / "nats", extra=accounts_config(nats_secrets), own_user=True)
    postgres.await_orphan()
    nats.await_orphan()
    postgres.port = choose_port(postgres_port, kept.postgres)
    nats.port = choose_port(nats_port, kept.nats)
    with postgres, nats:
        ports = Ports(kept.http, postgres.port, nats.port)
        yield Stack(postgres.dsn(DATABASE), nats.url, nats_secrets, ports, Watch(postgres, nats).look)


class Server(Protocol):
    """What is watched of a server."""

    @property
    def running(self) -> bool: ...

    @property
    def log(self) -> Path: ...


class Restartable(Server, Protocol):
    def start(self, *, wait: bool = True) -> object: ...


class Watch:
    """Starts NATS again when it has ended: Postgres holds all that it held. Without Postgres `brownout up` ends, for
    whoever supervises it (docs/adr/0049)."""

    def __init__(self, postgres: Server, nats: Restartable, now: Monotonic = monotonic) -> None:
        self._postgres, self._nats, self._now = postgres, nats, now
        self._backoff_s, self._due = BACKOFF_S[0], now()

    def look(self) -> str:
        """To be called now and then, from the thread that started them: a server dies with that thread.

        Returns:
            Why there is no going on, in a sentence; else nothing.
        """
        if not self._postgres.running:
            return f"Postgres has ended by itself; its last words are in {self._postgres.log}"
        now = self._now()
        if self._nats.running:
            if now - self._due > BACKOFF_S[1]:
                self._backoff_s = BACKOFF_S[0]
        elif now >= self._due:
            self._due, self._backoff_s = now + self._backoff_s, min(2 * self._backoff_s, BACKOFF_S[1])
            log.error("nats_has_ended_and_is_started_again", log=str(self._nats.log), next_try_in_s=self._due - now)
            try:
                self._nats.start(wait=False)
            except (OSError, StartError) as error:
                log.warning("nats_does_not_start", error=str(error))
        return ""


def _nats_secrets(file: Path) -> NatsSecrets:
    try:
        return NatsSecrets.load(file)
    except (OSError, msgspec.DecodeError) as error:
        raise StartError(f"{file} is damaged: {error}") from None


async def create_database(postgres_url: str) -> None:
    """Makes our database inside a new server; does nothing when it is there."""
    connection = await asyncpg.connect(postgres_url.rsplit("/", 1)[0] + "/postgres")
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        await connection.close()

"""A whole Brownout of real processes, each of which can be killed, stopped, wiped and started again."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec
import nats

from brownout.wire import Subjects
from controlplane.access.actor import ANY_ENVIRONMENT, Role, system_actor
from controlplane.access.natsconfig import CONTROL_USER, NatsSecrets, accounts_config, cluster_config
from controlplane.app import open_services
from controlplane.configuration.store.migrate import migrate
from controlplane.embedded.nats import EmbeddedNats
from controlplane.embedded.postgres import EmbeddedPostgres
from controlplane.embedded.processes import free_port, stop
from controlplane.embedded.stack import DATABASE, create_database
from controlplane.kit.database import Database
from controlplane.settings import Secret, Settings
from tests.support import SECRET_KEY

ENVIRONMENT = "production"
SETUP = system_actor("system:setup")
ROOT = Path(__file__).parents[2]
START_S = 120
"""How long we wait for processes to start on a machine that other tests keep busy; none of our bounds."""


def await_true(condition: Callable[[], object], timeout_s: float, what: str) -> float:
    """Asks every 10 ms; returns the seconds it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout_s:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - started


class Replica:
    """One `brownout serve`, or another verb with the same settings."""

    def __init__(self, name: str, settings: Settings, folder: Path, verb: str = "serve") -> None:
        self.name = name
        self._verb = verb
        self.port = settings.port
        self.log = folder / f"{name}.log"
        self._environment = _variables(settings)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def start(self, *, wait: bool = True) -> None:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "controlplane", self._verb],
                env=self._environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        if wait:
            await_true(lambda: self.ready, START_S, f"{self.name} is ready")

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process:
            stop(self._process)


class System:
    """Postgres (durable), one or three NATS servers, and control planes on it; SDKs come from fleet.py."""

    def __init__(self, folder: Path, *, nodes: int = 1, replicas: int = 2, heartbeat_s: float = 1.0) -> None:
        self.folder = folder
        self.secrets = NatsSecrets.generate()
        self.postgres = EmbeddedPostgres(folder / "postgres")
        self.nodes = self._nodes(nodes)
        self.heartbeat_s = heartbeat_s
        self.token = self.sdk_key = ""
        self._replica_count = replicas
        self.replicas: list[Replica] = []

    @property
    def nats_urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    @property
    def database_url(self) -> str:
        return self.postgres.dsn(DATABASE)

    def __enter__(self) -> "System":
        try:
            self.postgres.start()
            for node in self.nodes:
                node.start(wait=False)
            for node in self.nodes:
                node.wait_healthy()
            asyncio.run(self._seed())
            self.replicas = [self._replica(f"replica-{n}") for n in range(self._replica_count)]
            for replica in self.replicas:
                replica.start(wait=False)
            await_true(lambda: all(r.ready for r in self.replicas), START_S, "every replica is ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self.replicas:
            replica.kill()
        for node in self.nodes:
            node.kill()
        self.postgres.stop()

    def settings(self, port: int = 0) -> Settings:
        return Settings(
            database_url=Secret(self.database_url),
            secret_key=Secret(SECRET_KEY),
            nats_url=",".join(self.nats_urls),
            nats_user=CONTROL_USER,
            nats_password=Secret(self.secrets.app_password),
            nats_issuer_seed=Secret(self.secrets.issuer_seed),
            nats_authd_password=Secret(self.secrets.auth_password),
            nats_system_password=Secret(self.secrets.system_password),
            nats_replicas=len(self.nodes),
            heartbeat_s=self.heartbeat_s,
            port=port,
            log_level="info",
        )

    def responder(self) -> Replica:
        """A `brownout authd`, not started."""
        return Replica("authd", self.settings(), self.folder, "authd")

    def wipe(self, node: EmbeddedNats) -> None:
        """Takes a dead server's data."""
        shutil.rmtree(node.directory / "jetstream")

    def republish(self, on: bool) -> None:
        """Whether the log stream sends on to SDKs what it stores. The publisher puts it right within half a minute."""
        asyncio.run(self._republish(on))

    async def _republish(self, on: bool) -> None:
        subjects = Subjects(ENVIRONMENT)
        client = await nats.connect(self.nats_urls, user=CONTROL_USER, password=self.secrets.app_password)
        try:
            stream = subjects.log_stream
            found = await client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=5)
            config = msgspec.json.decode(found.data)["config"]
            config.pop("republish", None)
            if on:
                config["republish"] = {"src": subjects.log_write, "dest": subjects.log}
            answer = await client.request(f"$JS.API.STREAM.UPDATE.{stream}", msgspec.json.encode(config), timeout=5)
            assert "error" not in msgspec.json.decode(answer.data)
        finally:
            await client.close()

    def save_postgres(self) -> Path:
        """A backup of Postgres as it is now, taken while it is down for a moment."""
        self.postgres.stop()
        saved = self.folder / "backup"
        subprocess.run(["cp", "-a", str(self.folder / "postgres" / "data"), str(saved)], check=True)
        self.postgres.start()
        return saved

    def restore_postgres(self, saved: Path) -> None:
        """Puts the backup in the place of what Postgres has; it is left stopped."""
        self.postgres.kill()
        data = self.folder / "postgres" / "data"
        shutil.rmtree(data)
        saved.rename(data)

    def _nodes(self, count: int) -> list[EmbeddedNats]:
        accounts = accounts_config(self.secrets)
        if count == 1:
            return [EmbeddedNats(self.folder / "nats-0", name="nats-0", extra=accounts)]
        routes = [f"127.0.0.1:{free_port()}" for _ in range(count)]
        return [
            EmbeddedNats(
                self.folder / f"nats-{n}",
                name=f"nats-{n}",
                extra=accounts + cluster_config(route, routes, self.secrets),
            )
            for n, route in enumerate(routes)
        ]

    def _replica(self, name: str) -> Replica:
        return Replica(name, self.settings(free_port()), self.folder)

    async def _seed(self) -> None:
        await create_database(self.database_url)
        database = Database(self.database_url, pool_size=1)
        await migrate(database)
        await database.close()
        async with open_services(self.settings()) as services:
            await services.environments.create(SETUP, ENVIRONMENT, "Production")
            made = await services.access.tokens.create_service(SETUP, "chaos", {ANY_ENVIRONMENT: [Role.ADMIN]})
            self.token = made.token
            self.sdk_key = (await services.access.keys.create(SETUP, ENVIRONMENT, "chaos")).key


def _variables(settings: Settings) -> dict[str, str]:
    """The settings as `brownout serve` reads them."""
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    texts = {name: value.reveal() if isinstance(value, Secret) else str(value) for name, value in values.items()}
    ours = {f"BROWNOUT_{name.upper()}": text for name, text in texts.items() if text}
    return {name: value for name, value in os.environ.items() if not name.startswith("BROWNOUT_")} | ours

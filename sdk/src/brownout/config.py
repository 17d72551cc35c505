"""What a client was told: by arguments first, by `BROWNOUT_*` environment variables else."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from brownout._sync.host import DEFAULT_FILE
from brownout.errors import ConfigurationError
from brownout.wire import SdkKey

if TYPE_CHECKING:
    import ssl

STALE_AFTER_S = 30.0

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_ENVIRONMENT = re.compile(r"[a-z0-9-]{1,40}")
_SCHEMES = ("nats", "tls", "ws", "wss")


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a client needs to know before it starts."""

    urls: tuple[str, ...]
    """NATS URLs, separated by commas; None if the client is offline."""
    key: SdkKey | None
    """The SDK key. It opens NATS, and pins the control plane that may sign what the client applies."""
    environment: str
    """The environment to follow."""
    service: str = ""
    """The name of your service, as safe mode is scoped to it and the fleet page shows it."""
    disk: Path | None = None
    """Where the last-known-good file is kept: a directory, or `off`. Without it, the user's cache directory."""
    bundle: Path | None = None
    """A file from `brownout export --bundle` to start from, shipped with your service."""
    stale_after_s: float = STALE_AFTER_S
    """Seconds without a fresh signed time after which the client says that it is `STALE`."""
    safe_mode: str = ""
    """The host's own safe mode: a profile that holds for the life of the process, whatever the control plane says."""
    safe_mode_file: Path | None = None
    """A file that does the same while it exists (default `/run/brownout/safe-mode`); `off` watches none."""
    domain: str = ""
    """The JetStream domain, if clients connect to leaf nodes."""
    tls: "ssl.SSLContext | None" = None
    """A file: the certificate authority of NATS. With it, or a `tls://` URL, the client sends its key only over TLS."""


def configure(
    *,
    urls: str | Sequence[str] | None,
    key: str | None,
    environment: str | None,
    service: str | None,
    disk: str | os.PathLike[str] | bool | None,
    bundle: str | os.PathLike[str] | None,
    stale_after_s: float | None,
    domain: str | None,
    tls: "ssl.SSLContext | None",
    variables: Mapping[str, str],
) -> Config:
    """Raises ConfigurationError, naming the argument and its variable."""
    given = _required(urls if isinstance(urls, str) or urls is None else ",".join(urls), "url", "NATS_URL", variables)
    name = _required(environment, "environment", "ENVIRONMENT", variables)
    if not _ENVIRONMENT.fullmatch(name):
        raise ConfigurationError(f"environment {name!r} is not of the form [a-z0-9-]{{1,40}}")
    try:
        sdk_key = SdkKey.parse(_required(key, "key", "SDK_KEY", variables))
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    path = bundle or variables.get("BROWNOUT_BUNDLE")
    return Config(
        urls=_servers(given),
        key=sdk_key,
        environment=name,
        service=service or variables.get("BROWNOUT_SERVICE") or "",
        disk=_disk(disk, name, sdk_key, variables),
        bundle=Path(path) if path else None,
        stale_after_s=_seconds(stale_after_s, variables.get("BROWNOUT_STALE_AFTER_S")),
        safe_mode=variables.get("BROWNOUT_SAFE_MODE") or "",
        safe_mode_file=safe_mode_file(variables),
        domain=domain or variables.get("BROWNOUT_JETSTREAM_DOMAIN") or "",
        tls=tls or _authority(variables.get("BROWNOUT_NATS_CA")),
    )


def safe_mode_file(variables: Mapping[str, str]) -> Path | None:
    """The file by which the owner of a host switches safe mode on; None if none is watched."""
    named = variables.get("BROWNOUT_SAFE_MODE_FILE") or str(DEFAULT_FILE)
    return None if named == "off" else Path(named)


def _servers(given: str) -> tuple[str, ...]:
    """The likely mistake is the control plane's own URL, which would be tried in vain for ever."""
    servers = tuple(part.strip() for part in given.split(",") if part.strip())
    for server in servers:
        scheme, separator, _ = server.partition("://")
        if separator and scheme not in _SCHEMES:
            raise ConfigurationError(f"url {server!r} is not NATS's: {', '.join(f'{known}://…' for known in _SCHEMES)}")
    if not servers:
        raise ConfigurationError("no url given: pass url= or set BROWNOUT_NATS_URL")
    return servers


def _authority(file: str | None) -> "ssl.SSLContext | None":
    """A context that believes the authority in `file` alone."""
    if not file:
        return None
    import ssl

    try:
        context = ssl.create_default_context(cafile=file)
    except OSError as error:
        raise ConfigurationError(f"BROWNOUT_NATS_CA: {file} cannot be read: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _required(value: str | None, argument: str, variable: str, variables: Mapping[str, str]) -> str:
    found = value or variables.get(f"BROWNOUT_{variable}")
    if not found:
        raise ConfigurationError(f"no {argument} given: pass {argument}= or set BROWNOUT_{variable}")
    return found


def _seconds(value: float | None, variable: str | None) -> float:
    try:
        seconds = float(variable or STALE_AFTER_S) if value is None else value
    except ValueError:
        raise ConfigurationError("BROWNOUT_STALE_AFTER_S is not a number of seconds") from None
    if not seconds > 0:
        raise ConfigurationError("stale_after_s must be above zero")
    return seconds


def _disk(
    value: str | os.PathLike[str] | bool | None, environment: str, key: SdkKey, variables: Mapping[str, str]
) -> Path | None:
    """A directory of the user's cache unless told otherwise. The file is named by what it is worth nothing without."""
    if value is None:
        value = variables.get("BROWNOUT_DISK") or True
    if value is False or value == "off":
        return None
    cache = variables.get("XDG_CACHE_HOME") or "~/.cache"
    directory = Path(cache, "brownout") if value is True else Path(value)
    try:
        return directory.expanduser() / f"{environment}-{_UNSAFE.sub('_', key.kid)}.bundle"
    except RuntimeError:  # a user without a home
        return None

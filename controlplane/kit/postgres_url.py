"""The address of Postgres as libpq writes it, read once for the pools, for LISTEN and for authd.

Every parameter either has its libpq meaning or is refused in one sentence: none is ignored where it would matter.
"""

import shlex
import ssl
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from controlplane.errors import InvalidInputError
from controlplane.kit.tls import postgres_tls

NAME = "BROWNOUT_DATABASE_URL"
_TLS = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey"})
_PLACE = frozenset({"host", "port", "user", "password", "dbname"})


class PostgresAddress(msgspec.Struct, frozen=True):
    """Where Postgres is, and how the operator wants to be connected."""

    url: URL
    """Without a query."""
    tls: ssl.SSLContext | bool
    settings: Mapping[str, str]
    """What the session begins with: `application_name`, and what `options` sets."""
    timeout_s: float | None
    """The operator's `connect_timeout`."""

    def options(self, timeout_s: float, **settings: str) -> dict[str, Any]:
        """asyncpg's arguments besides the place. The operator's settings and timeout win over those given here."""
        return {
            "ssl": self.tls,
            "timeout": self.timeout_s or timeout_s,
            "server_settings": {"application_name": "brownout", **settings, **self.settings},
        }

    def arguments(self, timeout_s: float) -> dict[str, Any]:
        """Everything that `asyncpg.connect` needs."""
        url = self.url
        place = {
            "host": url.host, "port": url.port, "user": url.username,
            "password": None if url.password is None else str(url.password), "database": url.database,
        }  # fmt: skip
        return {name: value for name, value in place.items() if value is not None} | self.options(timeout_s)


def parse(text: str) -> PostgresAddress:
    """Raises InvalidInputError in one sentence that does not repeat what may hold a password."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() not in {"postgresql", "postgres"}:
        raise InvalidInputError(f"{NAME} is no address of a Postgres: postgresql://user@host:5432/name")
    query: dict[str, str] = {}
    for name, value in url.query.items():
        if not isinstance(value, str):
            raise _refused(name, "is given more than once")
        query[name] = value
    settings, timeout_s = {}, None
    for name in query.keys() - _TLS - _PLACE:
        if name == "application_name":
            settings[name] = query[name]
        elif name == "connect_timeout":
            timeout_s = _seconds(query[name])
        elif name == "channel_binding":
            _check_binding(query[name])
        elif name != "options":
            raise _refused(name, "is not supported")
    settings = {**_options(query.get("options", "")), **settings}
    return PostgresAddress(_placed(url, query), _tls(query), settings, timeout_s)


def _placed(url: URL, query: Mapping[str, str]) -> URL:
    port = query.get("port")
    if port is not None and not (port.isascii() and port.isdecimal()):
        raise _refused("port", "must be one number")
    host = query.get("host", url.host) or None
    if host is not None and "," in host:
        raise _refused("host", "must be one host: put a proxy or a virtual address before several")
    return url.set(
        drivername="postgresql+asyncpg",
        username=query.get("user", url.username),
        password=query.get("password", url.password),
        host=host,
        port=int(port) if port else url.port,
        database=query.get("dbname", url.database),
        query={},
    )


def _tls(query: Mapping[str, str]) -> ssl.SSLContext | bool:
    try:
        return postgres_tls(query)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{NAME}: {error}") from None


def _seconds(text: str) -> float | None:
    """libpq takes whole seconds; 0 and less mean: as long as we like."""
    try:
        seconds = int(text)
    except ValueError:
        raise _refused("connect_timeout", "must be a whole number of seconds") from None
    return float(seconds) if seconds > 0 else None


def _check_binding(value: str) -> None:
    if value not in {"disable", "prefer"}:
        raise _refused(
            "channel_binding", "can only be prefer or disable: our driver has none, use sslmode=verify-full instead"
        )


def _options(text: str) -> dict[str, str]:
    """`-c name=value` and `--name=value`, as often as they come."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise _refused("options", "cannot be read") from None
    found = {}
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word = words.pop(0)
        elif word.startswith("-c"):
            word = word[2:]
        elif word.startswith("--"):
            word = word[2:].replace("-", "_")
        else:
            raise _refused("options", "can only hold `-c name=value` and `--name=value`")
        name, is_, value = word.partition("=")
        if not is_ or not name:
            raise _refused("options", "can only hold `-c name=value` and `--name=value`")
        found[name] = value
    return found


def _refused(name: str, why: str) -> InvalidInputError:
    return InvalidInputError(f"{NAME}: the parameter {name} {why}")

"""What each kind of channel needs to know: read strictly, sealed whole, and shown only as a target without secrets."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from controlplane.errors import Fault
from controlplane.notify.reach import url_fault
from controlplane.notify.senders.email import EmailConfig
from controlplane.notify.senders.pagerduty import PagerDutyConfig
from controlplane.notify.senders.slack import SlackConfig
from controlplane.notify.senders.teams import TeamsConfig
from controlplane.notify.senders.webhook import WebhookConfig
from controlplane.notify.webhook_signing import parse_secrets

MAX_TO = 20
_ADDRESS = re.compile(r"[^\s@<>,;\"\0]{1,64}@[A-Za-z0-9.-]{1,255}")
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,255}")


class InboxConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The demo's inbox needs nothing."""


class Config(NamedTuple):
    sealed: bytes
    target: str
    faults: list[Fault]


def read_config(kind: str, given: dict[str, Any], *, inbox: bool) -> Config:
    """Never raises: `faults` say what is wrong, with pointers into `config`, and never repeat a secret."""
    known = {name: row for name, row in _KINDS.items() if name != "inbox" or inbox}
    if kind not in known:
        message = f"there is no kind of channel {kind[:40]}: use {', '.join(known)}"
        return Config(b"", "", [Fault("invalid_value", message, "/kind")])
    into, faults_of, target_of = known[kind]
    fields = {each.name: each for each in msgspec.structs.fields(into)}
    faults = [
        Fault("unknown_field", f"a {kind} channel has no field {name[:60]}", f"/config/{name[:60]}")
        for name in given
        if name not in fields
    ]
    faults += [
        Fault("required", f"a {kind} channel needs {name}", f"/config/{name}")
        for name, field in fields.items()
        if field.required and name not in given
    ]
    if faults:
        return Config(b"", "", faults)
    try:
        config = msgspec.convert(given, into)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        return Config(b"", "", [Fault("invalid_type", message, "/config" + path.rstrip("`").replace(".", "/"))])
    found = [Fault("invalid_value", message, f"/config/{field}") for field, message in faults_of(config)]
    return Config(msgspec.json.encode(config), "" if found else target_of(config), found)


Faults = list[tuple[str, str]]


def _url_faults(config: Any) -> Faults:
    return [("url", f"url {fault}")] if (fault := url_fault(config.url)) else []


def _host(config: Any) -> str:
    """The host alone: the path of an incoming webhook is its secret."""
    parts = urlsplit(config.url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _webhook_faults(config: WebhookConfig) -> Faults:
    found = _url_faults(config)
    try:
        parse_secrets(config.secret)
    except ValueError as error:
        found.append(("secret", f"secret: {error}"))
    return found


def _pagerduty_faults(config: PagerDutyConfig) -> Faults:
    found = _url_faults(config)
    if not re.fullmatch(r"[A-Za-z0-9]{32}", config.routing_key):
        found.append(("routing_key", "routing_key must be the 32 characters of an Events API v2 integration"))
    return found


def _email_faults(config: EmailConfig) -> Faults:
    found = []
    if not _HOST.fullmatch(config.host):
        found.append(("host", "host must be the name or address of a mail server"))
    if not 1 <= config.port <= 65_535:
        found.append(("port", "port must be between 1 and 65535"))
    if not _ADDRESS.fullmatch(config.sender):
        found.append(("sender", "sender must be an e-mail address"))
    if not 1 <= len(config.to) <= MAX_TO:
        found.append(("to", f"to needs 1 to {MAX_TO} e-mail addresses"))
    found += [
        (f"to/{place}", "each must be an e-mail address")
        for place, each in enumerate(config.to)
        if not _ADDRESS.fullmatch(each)
    ]
    if config.security == "none" and config.password:
        found.append(("password", "a password is not sent without TLS: set security to tls or starttls"))
    if max(len(config.username), len(config.password)) > 500:
        found.append(("password", "user name and password may have 500 characters"))
    return found


def _nothing_wrong(config: Any) -> Faults:  # noqa: ARG001
    return []


_KINDS: dict[str, tuple[type[msgspec.Struct], Callable[[Any], Faults], Callable[[Any], str]]] = {
    "webhook": (WebhookConfig, _webhook_faults, _host),
    "slack": (SlackConfig, _url_faults, _host),
    "teams": (TeamsConfig, _url_faults, _host),
    "pagerduty": (PagerDutyConfig, _pagerduty_faults, lambda config: f"…{config.routing_key[-4:]}"),
    "email": (EmailConfig, _email_faults, lambda config: ", ".join(config.to)),
    "inbox": (InboxConfig, _nothing_wrong, lambda _: "the demo's inbox"),
}

"""Everything that can be set, read once from `BROWNOUT_*`. Secrets have no defaults and never print.

`BROWNOUT_X_FILE` names a file that holds the value of `BROWNOUT_X` (mounted secrets).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar, get_type_hints

import msgspec

from controlplane.access.addresses import Network, parse_networks
from controlplane.access.webhook_signing import parse_secrets

PREFIX = "BROWNOUT_"
MIN_SECRET_KEY = 32
T = TypeVar("T")


class SettingsError(Exception):
    """One sentence for the person who starts the process."""


class Secret:
    """Text that must not reach a log or a traceback by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret(…)" if self._text else "Secret('')"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The control plane's settings; the field `x` is read from `BROWNOUT_X`."""

    database_url: Secret
    """A libpq URL: postgresql://user:password@host:port/database."""
    secret_key: Secret
    """At least 32 characters; encrypts signing keys at rest."""
    nats_url: str
    """One or several, separated by commas."""
    nats_user: str = ""
    nats_password: Secret = Secret("")
    nats_issuer_seed: Secret = Secret("")
    """The account key that signs for SDKs. With it and the two passwords below a replica answers NATS's auth callout
    itself; without, `brownout authd` does."""
    nats_authd_password: Secret = Secret("")
    nats_system_password: Secret = Secret("")
    authd_copy: str = ""
    """The file that keeps the key table for when Postgres is away; empty = none."""
    nats_ca: str = ""
    """The authority that NATS's certificates come from, a file; then connections are encrypted. Empty = plain."""
    nats_cert: str = ""
    nats_key: str = ""
    """What we show NATS when it wants client certificates, files."""
    nats_replicas: int = 1
    """JetStream replicas per stream: 1 for one server, 3 in a cluster."""
    heartbeat_s: float = 5.0
    """How often SDKs hear the head. One whose connection hangs notices after 3.5 of these."""
    host: str = "127.0.0.1"
    port: int = 8321
    public_url: str = ""
    """Where people reach the console, when not at host:port."""
    trusted_proxies: str = ""
    """Addresses or networks, separated by commas, whose X-Forwarded-For is believed; empty = nobody's."""
    requests_per_principal_s: float = 100
    """What one person or token may ask of one replica, on average; four times that at once."""
    requests_per_address_s: float = 400
    http_connections: int = 4_000
    """At once, in one replica; fewer when there are not so many file descriptors. A tenth is kept for trusted proxies
    and for addresses from which somebody has signed in."""
    http_connections_per_address: int = 250
    """From one IPv4 address or IPv6 /64 that is no trusted proxy."""
    http_header_timeout_s: float = 10
    http_body_timeout_s: float = 10
    """Each `http_min_rate` bytes of the body give one second more."""
    http_read_timeout_s: float = 30
    """How long a client may leave an answer, or an event stream, unread."""
    http_min_rate: int = 1_000
    """Bytes a second."""
    oidc_issuer: str = ""
    """Where people sign in besides with a password; empty = nowhere."""
    oidc_client_id: str = ""
    oidc_client_secret: Secret = Secret("")
    oidc_groups_claim: str = "groups"
    oidc_roles: str = "{}"
    """JSON: group → environment or `*` → roles. `{"sre": {"production": ["operator"]}}`"""
    oidc_recheck_minutes: int = 15
    """How often the provider is asked whether somebody still has their groups, where it hands out refresh tokens."""
    oidc_roles_hours: int = 24
    """How long after the provider last confirmed them groups count in a session; then one signs in again."""
    oidc_tokens_days: int = 30
    """The same for tokens and approvals of people who are away; then tokens of people without a password lapse."""
    max_token_days: int = 366
    """The longest that an API token lasts."""
    approval_settle_hours: int = 24
    """How long a fresh invitation or sign-in link lets its maker pass for its person in the two-person rule."""
    alert_webhook: Secret = Secret("")
    """Where alerts go, as JSON by POST (docs/operations.md); empty = in the log only."""
    alert_webhook_secret: Secret = Secret("")
    """What signs them: `whsec_` and base64, or several separated by commas while one replaces another."""
    database_pool: int = 20
    max_body_bytes: int = 1_500_000
    """Of one request; commits and imports may be larger (controlplane/api/limits.py)."""
    max_activation_hours: int = 168
    """The longest time for which safe mode can be switched on or extended."""
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    telemetry_days: int = 14
    """How long rollups are kept; a rollout's stage cannot look back further."""
    telemetry_instances: int = 5_000
    """Instances that one SDK key may have at once: 10 to 100,000."""
    telemetry_series: int = 2_000
    """Combinations of labels that one SDK key may report in a day: 10 to 100,000. Further ones count as `(other)`."""
    telemetry_evaluations: int = 20_000
    """Combinations of flag, variant and reason, likewise: 10 to 1,000,000."""
    telemetry_bytes_per_minute: int = 128 * 1024 * 1024
    """What one SDK key may report to one replica: 1 MiB to 16 GiB."""
    metrics_series: int = 1_000
    """Of each kind and environment in /api/v1/metrics and OTLP: 10 to 100,000. Further ones count as `(other)`."""
    prices: str = ""
    """What models cost, as JSON (docs/signals.md); empty = no cost is shown."""
    demo_control: str = ""
    """The file through which the demo's fleet is told what to break; set by `brownout up --demo`."""
    otlp_endpoint: str = ""
    """OTLP/HTTP collector; empty = no OpenTelemetry."""

    @property
    def nats_servers(self) -> tuple[str, ...]:
        return tuple(server.strip() for server in self.nats_url.split(",") if server.strip())

    @property
    def proxies(self) -> tuple[Network, ...]:
        return parse_networks(self.trusted_proxies)

    @property
    def url(self) -> str:
        return self.public_url or f"http://{self.host}:{self.port}"


RANGES: Mapping[str, tuple[float, float]] = {
    "nats_replicas": (1, 5),
    "heartbeat_s": (0.1, 60),
    "port": (0, 65_535),
    "requests_per_principal_s": (0.1, 1e9),
    "requests_per_address_s": (0.1, 1e9),
    "http_connections": (1, 1_000_000),
    "http_connections_per_address": (1, 1_000_000),
    "http_header_timeout_s": (0.01, 3_600),
    "http_body_timeout_s": (0.01, 3_600),
    "http_read_timeout_s": (0.01, 3_600),
    "http_min_rate": (1, 1_000_000_000),
    "oidc_recheck_minutes": (1, 10_000),
    "oidc_roles_hours": (1, 10_000),
    "oidc_tokens_days": (1, 10_000),
    "max_token_days": (1, 10_000),
    "approval_settle_hours": (0, 10_000),
    "database_pool": (2, 1_000),
    "max_body_bytes": (8_192, 2**31),
    "max_activation_hours": (1, 8_784),
    "telemetry_days": (1, 3_660),
    "telemetry_instances": (10, 100_000),
    "telemetry_series": (10, 100_000),
    "telemetry_evaluations": (10, 1_000_000),
    "telemetry_bytes_per_minute": (2**20, 2**34),
    "metrics_series": (10, 100_000),
}
"""What each number may be: every one has its row (tested)."""


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Reads `BROWNOUT_*`.

    Raises:
        SettingsError: something is missing, malformed or unreadable; all such names are in the message.
    """
    settings = read_struct(Settings, environ)
    if len(settings.secret_key.reveal()) < MIN_SECRET_KEY:
        raise SettingsError(f"BROWNOUT_SECRET_KEY: at least {MIN_SECRET_KEY} characters, please")
    wrong = [
        f"{PREFIX}{name.upper()}: {least:,} to {most:,}, please"
        for name, (least, most) in RANGES.items()
        if not least <= getattr(settings, name) <= most
    ]
    if wrong:
        raise SettingsError("; ".join(wrong))
    if settings.alert_webhook:
        try:
            parse_secrets(settings.alert_webhook_secret.reveal())
        except ValueError as error:
            raise SettingsError(f"BROWNOUT_ALERT_WEBHOOK_SECRET: {error}") from None
    try:
        parse_networks(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"BROWNOUT_TRUSTED_PROXIES: {error}") from None
    return settings


def read_struct(struct: type[T], environ: Mapping[str, str]) -> T:
    """Any frozen msgspec struct of settings, so that a capability can keep its own."""
    values: dict[str, object] = {}
    wrong: list[str] = []
    hints = get_type_hints(struct)
    for field in msgspec.structs.fields(struct):  # type: ignore[arg-type]
        name = PREFIX + field.name.upper()
        try:
            text = _text(environ, name)
            if text is None:
                if field.required:
                    wrong.append(f"{name} is not set")
                continue
            values[field.name] = _convert(text, hints[field.name])
        except (OSError, ValueError) as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        raise SettingsError("; ".join(wrong))
    return struct(**values)


def read_value(field: str, type_: type[T], environ: Mapping[str, str]) -> T:
    """One required setting on its own."""
    made = msgspec.defstruct("One", [(field.lower(), type_)], frozen=True)
    value: T = getattr(read_struct(made, environ), field.lower())
    return value


def _text(environ: Mapping[str, str], name: str) -> str | None:
    file = environ.get(f"{name}_FILE")
    if file:
        return Path(file).read_text(encoding="utf-8").strip()
    return environ.get(name)


def _convert(text: str, hint: object) -> object:
    if hint is Secret:
        return Secret(text)
    try:
        return msgspec.convert(text, type=hint, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None

"""Everything that can be set, read once from `BROWNOUT_*`. Secrets have no defaults and never print.

`BROWNOUT_X_FILE` names a file that holds the value of `BROWNOUT_X` (mounted secrets).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_type_hints

import msgspec

from controlplane.access.second_factor_rule import parse_requirement
from controlplane.access.webhook_signing import parse_secrets
from controlplane.kit.addresses import Network, parse_networks
from controlplane.kit.addresses import url as server_url

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
    secret_key_previous: Secret = Secret("")
    """Earlier secret keys, one per line: they still open what they sealed, until it is sealed again."""
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
    nats_replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 1
    """JetStream replicas per stream: 1 for one server, 3 in a cluster."""
    heartbeat_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 5.0
    """How often SDKs hear the head. One whose connection hangs notices after 3.5 of these."""
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8321
    public_url: str = ""
    """Where people reach the console, when not at host:port."""
    trusted_proxies: str = ""
    """Addresses or networks, separated by commas, whose X-Forwarded-For is believed; empty = nobody's."""
    requests_per_principal_s: Annotated[float, msgspec.Meta(ge=0.1, le=1e9)] = 100
    """What one person or token may ask of one replica, on average; four times that at once."""
    requests_per_address_s: Annotated[float, msgspec.Meta(ge=0.1, le=1e9)] = 400
    http_connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4_000
    """At once, in one replica; fewer when there are not so many file descriptors. A tenth is kept for trusted proxies
    and for addresses from which somebody has signed in."""
    http_connections_per_address: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 250
    """From one IPv4 address or IPv6 /64 that is no trusted proxy."""
    http_header_timeout_s: Annotated[float, msgspec.Meta(ge=0.01, le=3_600)] = 10
    http_body_timeout_s: Annotated[float, msgspec.Meta(ge=0.01, le=3_600)] = 10
    """Each `http_min_rate` bytes of the body give one second more."""
    http_read_timeout_s: Annotated[float, msgspec.Meta(ge=0.01, le=3_600)] = 30
    """How long a client may leave an answer, or an event stream, unread."""
    http_min_rate: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] = 1_000
    """Bytes a second."""
    oidc_issuer: str = ""
    """Where people sign in besides with a password; empty = nowhere."""
    oidc_client_id: str = ""
    oidc_client_secret: Secret = Secret("")
    oidc_groups_claim: str = "groups"
    oidc_roles: str = "{}"
    """JSON: group → environment or `*` → roles. `{"sre": {"production": ["operator"]}}`"""
    oidc_recheck_minutes: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 15
    """How often the provider is asked whether somebody still has their groups, where it lets us ask."""
    oidc_roles_hours: Annotated[int, msgspec.Meta(ge=1, le=2160)] = 24
    """How long after the provider last confirmed them groups count in a session; then one signs in again."""
    oidc_tokens_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 30
    """The same for tokens and approvals of people who are away; then tokens of people without a password lapse."""
    approval_settle_hours: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 24
    """How long a fresh invitation or sign-in link lets its maker pass for its person in the two-person rule."""
    oidc_acr_values: str = ""
    """Authentication contexts to ask the provider for, separated by spaces; it must answer with one of them."""
    oidc_amr_values: str = ""
    """Methods, separated by spaces (`mfa hwk`): the provider must say that it used at least one of them."""
    require_second_factor: str = "off"
    """Whose password alone does not do: off, admins, everyone, or roles like `admin, operator@production`."""
    second_factor_grace_days: Annotated[int, msgspec.Meta(ge=0, le=90)] = 7
    """How long people who are here already may go on without; new people set it up at once."""
    step_up_minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)] = 15
    """How long a proof (a sign-in, a password, a second factor) lasts for what is sensitive."""
    session_idle_minutes: Annotated[int, msgspec.Meta(ge=5, le=43_200)] = 1440
    """After so long without a request a browser's session is over."""
    session_hours: Annotated[int, msgspec.Meta(ge=1, le=2160)] = 168
    """The longest that a session lasts, however busy."""
    max_token_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 366
    """The longest that an API token lasts."""
    password_min_length: Annotated[int, msgspec.Meta(ge=8, le=64)] = 12
    allowed_addresses: str = ""
    """Networks, separated by commas, that people and tokens may come from; empty = anywhere. Probes stay open."""
    alert_webhook: Secret = Secret("")
    """Where alerts go, as JSON by POST (docs/operations.md); empty = in the log only."""
    alert_webhook_secret: Secret = Secret("")
    """What signs them: `whsec_` and base64, or several separated by commas while one replaces another."""
    database_pool: Annotated[int, msgspec.Meta(ge=2, le=1_000)] = 20
    max_body_bytes: Annotated[int, msgspec.Meta(ge=8_192, le=2_147_483_648)] = 1_500_000
    """Of one request; commits and imports may be larger (controlplane/http/limits.py)."""
    max_activation_hours: Annotated[int, msgspec.Meta(ge=1, le=8_784)] = 168
    """The longest time for which safe mode can be switched on or extended."""
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    telemetry_days: Annotated[int, msgspec.Meta(ge=1, le=3_660)] = 14
    """How long rollups are kept; a rollout's stage cannot look back further."""
    telemetry_instances: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 5_000
    """Instances that one SDK key may have at once: 10 to 100,000."""
    telemetry_series: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 2_000
    """Combinations of labels that one SDK key may report in a day: 10 to 100,000. Further ones count as `(other)`."""
    telemetry_evaluations: Annotated[int, msgspec.Meta(ge=10, le=1_000_000)] = 20_000
    """Combinations of flag, variant and reason, likewise: 10 to 1,000,000."""
    telemetry_bytes_per_minute: Annotated[int, msgspec.Meta(ge=1_048_576, le=17_179_869_184)] = 128 * 1024 * 1024
    """What one SDK key may report to one replica: 1 MiB to 16 GiB."""
    metrics_series: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 1_000
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
    def secret_keys(self) -> tuple[str, ...]:
        """The one that seals, then those that still open."""
        return secret_keys(self.secret_key, self.secret_key_previous)

    @property
    def proxies(self) -> tuple[Network, ...]:
        return parse_networks(self.trusted_proxies)

    @property
    def url(self) -> str:
        return self.public_url or server_url(self.host, self.port)


def secret_keys(present: Secret, previous: Secret) -> tuple[str, ...]:
    """The one that seals, then those that still open: `previous` holds one per line."""
    lines = (line.strip() for line in previous.reveal().splitlines())
    return (present.reveal(), *(line for line in lines if line))


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Reads `BROWNOUT_*`.

    Raises:
        SettingsError: something is missing, malformed or unreadable; all such names are in the message.
    """
    settings = read_struct(Settings, environ)
    if len(settings.secret_key.reveal()) < MIN_SECRET_KEY:
        raise SettingsError(f"BROWNOUT_SECRET_KEY: at least {MIN_SECRET_KEY} characters, please")
    if any(len(secret) < MIN_SECRET_KEY for secret in settings.secret_keys):
        raise SettingsError(f"BROWNOUT_SECRET_KEY_PREVIOUS: each needs at least {MIN_SECRET_KEY} characters")
    for name, parse in (
        ("trusted_proxies", parse_networks),
        ("allowed_addresses", parse_networks),
        ("require_second_factor", parse_requirement),
    ):
        try:
            parse(getattr(settings, name))
        except ValueError as error:
            raise SettingsError(f"{PREFIX}{name.upper()}: {error}") from None
    if settings.alert_webhook:
        try:
            parse_secrets(settings.alert_webhook_secret.reveal())
        except ValueError as error:
            raise SettingsError(f"BROWNOUT_ALERT_WEBHOOK_SECRET: {error}") from None
    return settings


def read_struct(struct: type[T], environ: Mapping[str, str]) -> T:
    """Any frozen msgspec struct of settings, so that a capability can keep its own."""
    values: dict[str, object] = {}
    wrong: list[str] = []
    hints = get_type_hints(struct, include_extras=True)
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

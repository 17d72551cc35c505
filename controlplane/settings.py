"""Everything that can be set, read once from `BROWNOUT_*`. Secrets have no defaults and never print.

`BROWNOUT_X_FILE` names a file that holds the value of `BROWNOUT_X` (mounted secrets).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_type_hints
from urllib.parse import urlsplit

import msgspec

from controlplane.access.second_factor_rule import parse_requirement
from controlplane.kit.addresses import Network, parse_networks
from controlplane.kit.addresses import url as server_url
from controlplane.notify.webhook_signing import parse_secrets

PREFIX = "BROWNOUT_"
MIN_SECRET_KEY = 32
ROUTED = frozenset(
    {"account", "ack", "api", "assets", "auth", "e", "gallery", "ofrep", "sign-in", "sign-out", "welcome"}
)
"""Where our own paths begin: behind a proxy that strips the root path they could not be told from it."""
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
    """At least 32 characters. Encrypts signing keys and the keys of authenticator apps at rest."""
    secret_key_previous: Secret = Secret("")
    """Earlier secret keys, one per line. They open what they sealed, until it is sealed again."""
    nats_url: str
    """One URL, or several separated by commas."""
    nats_user: str = ""
    """The control plane's NATS user; empty = NATS without accounts."""
    nats_password: Secret = Secret("")
    """The password of `BROWNOUT_NATS_USER`."""
    nats_issuer_seed: Secret = Secret("")
    """The seed that signs SDK connections. With it and the next two passwords a replica answers NATS's auth callout
    itself; without them, run `brownout authd`."""
    nats_authd_password: Secret = Secret("")
    """The password of the NATS user that answers the auth callout."""
    nats_system_password: Secret = Secret("")
    """The password of the NATS user that ends the connections of revoked keys."""
    authd_copy: str = ""
    """The file that keeps the table of SDK keys for when Postgres is away; empty = none."""
    nats_ca: str = ""
    """A file: the certificate authority of NATS. With it, connections are encrypted; empty = plain, unless the URL is
    `tls://`."""
    nats_cert: str = ""
    """A file: the client certificate, for a NATS that asks for one."""
    nats_key: str = ""
    """A file: the private key of `BROWNOUT_NATS_CERT`."""
    nats_replicas: Annotated[int, msgspec.Meta(ge=1, le=5)] = 1
    """JetStream replicas per stream: 1 for one server, 3 in a cluster."""
    heartbeat_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 5.0
    """Seconds between heartbeats to SDKs. An SDK whose connection hangs notices after 3.5 heartbeats."""
    host: str = "127.0.0.1"
    """The address that the HTTP server listens on."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8321
    """The port that the HTTP server listens on; 0 = any free port."""
    public_url: str = ""
    """The URL of the console for people, if it is not host:port. With `https://`, cookies are `Secure` and HSTS is
    sent. With a path, such as `https://ops.example/brownout`, everything is served under that path."""
    trusted_proxies: str = ""
    """Addresses or networks of proxies whose X-Forwarded-For Brownout believes, separated by commas; empty = none."""
    requests_per_principal_s: Annotated[float, msgspec.Meta(ge=0.1, le=1e9)] = 100
    """Requests per second and replica of one person or token, on average; four times that in a burst."""
    requests_per_address_s: Annotated[float, msgspec.Meta(ge=0.1, le=1e9)] = 400
    """Requests per second and replica from one address, on average; four times that in a burst."""
    http_connections: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4_000
    """Connections per replica; fewer if the limit of file descriptors is lower. One tenth is kept for trusted proxies
    and for addresses that signed in within the last hour."""
    http_connections_per_address: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 250
    """Connections from one IPv4 address or IPv6 /64 that is not a trusted proxy."""
    http_header_timeout_s: Annotated[float, msgspec.Meta(ge=0.01, le=3_600)] = 10
    """Seconds that a client has to send the headers of a request."""
    http_body_timeout_s: Annotated[float, msgspec.Meta(ge=0.01, le=3_600)] = 10
    """Seconds that a client has to send a body, plus one for each `BROWNOUT_HTTP_MIN_RATE` bytes."""
    http_read_timeout_s: Annotated[float, msgspec.Meta(ge=0.01, le=3_600)] = 30
    """Seconds that a client may leave a response, or an event stream, unread."""
    http_min_rate: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] = 1_000
    """Bytes per second that a body must arrive with."""
    oidc_issuer: str = ""
    """The OpenID Connect provider for single sign-on; empty = no single sign-on."""
    oidc_client_id: str = ""
    """The client that you registered at the provider."""
    oidc_client_secret: Secret = Secret("")
    """The secret of that client."""
    oidc_groups_claim: str = "groups"
    """The claim that lists a person's groups."""
    oidc_roles: str = "{}"
    """JSON: group → environment or `*` → roles. `{"sre": {"production": ["operator"]}}`"""
    oidc_recheck_minutes: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 15
    """Minutes between checks of a person's groups at the provider, if it allows them."""
    oidc_roles_hours: Annotated[int, msgspec.Meta(ge=1, le=2160)] = 24
    """Hours that groups count in a session after the provider last confirmed them. Then the person signs in again."""
    oidc_tokens_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 30
    """Days that groups count in tokens and approvals after the provider last confirmed them. Then tokens of people
    without a password stop working."""
    approval_settle_hours: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 24
    """Hours for which a new account or sign-in link counts as its maker's in the two-person rule."""
    oidc_acr_values: str = ""
    """Authentication contexts to ask the provider for, separated by spaces; it must return one of them. Empty = any."""
    oidc_amr_values: str = ""
    """Methods, separated by spaces (`mfa hwk`): the provider must have used at least one of them. Empty = any."""
    require_second_factor: str = "off"
    """The people who need a second factor: off, admins, everyone, or roles like `admin, operator@production`."""
    second_factor_grace_days: Annotated[int, msgspec.Meta(ge=0, le=90)] = 7
    """Days that existing accounts have to set up a second factor. New people set it up at once."""
    step_up_minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)] = 15
    """Minutes for which a proof (a sign-in, a password, a second factor) allows sensitive actions."""
    session_idle_minutes: Annotated[int, msgspec.Meta(ge=5, le=43_200)] = 1440
    """Minutes without a request after which a session ends."""
    session_hours: Annotated[int, msgspec.Meta(ge=1, le=2160)] = 168
    """Hours after which a session ends, however busy it is."""
    max_token_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 366
    """The longest lifetime of an API token, in days."""
    password_min_length: Annotated[int, msgspec.Meta(ge=8, le=64)] = 12
    """The fewest characters of a password."""
    allowed_addresses: str = ""
    """Networks that people and tokens may come from, separated by commas; empty = anywhere. Probes are exempt."""
    alert_webhook: Secret = Secret("")
    """The URL for alerts, as JSON by POST (docs/operations.md); empty = alerts go to the log only."""
    alert_webhook_secret: Secret = Secret("")
    """Signs alerts: `whsec_` and base64, or several separated by commas while you replace one."""
    notify_private_networks: str = ""
    """Networks that notification channels may reach although they are private, and without TLS, separated by commas;
    empty = public addresses by TLS only."""
    database_pool: Annotated[int, msgspec.Meta(ge=2, le=1_000)] = 20
    """The most connections to Postgres per replica."""
    max_body_bytes: Annotated[int, msgspec.Meta(ge=8_192, le=2_147_483_648)] = 1_500_000
    """The largest body of a request. Commits and imports may have 64 MB."""
    max_activation_hours: Annotated[int, msgspec.Meta(ge=1, le=8_784)] = 168
    """The longest time for which safe mode can be switched on or extended, in hours."""
    log_format: Literal["json", "console"] = "json"
    """`json` for machines, `console` for people."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe lines that are written."""
    telemetry_days: Annotated[int, msgspec.Meta(ge=1, le=3_660)] = 14
    """Days that rollups are kept; a rollout's stage cannot look back further."""
    telemetry_instances: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 5_000
    """Instances that one SDK key may have at once."""
    budget_key_share_bp: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10_000
    """What one SDK key may be granted of each budget window, in basis points. The default lets one key spend it all."""
    telemetry_series: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 2_000
    """Combinations of labels that one SDK key may report in a day. Further ones count as `(other)`."""
    telemetry_evaluations: Annotated[int, msgspec.Meta(ge=10, le=1_000_000)] = 20_000
    """Combinations of flag, variant and reason that one SDK key may report in a day. Further ones count as
    `(other)`."""
    telemetry_bytes_per_minute: Annotated[int, msgspec.Meta(ge=1_048_576, le=17_179_869_184)] = 128 * 1024 * 1024
    """Bytes that one SDK key may report to one replica in a minute."""
    metrics_series: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 1_000
    """Series of each kind and environment in /api/v1/metrics and OTLP. Further ones count as `(other)`."""
    prices: str = ""
    """Prices of models, as JSON (docs/signals.md); empty = no cost is shown."""
    emergency_dir: str = ""
    """A folder of this replica alone, for what it needs to switch safe mode without Postgres, sealed with the secret
    key. Empty = in memory only, and a restart forgets it."""
    demo_control: str = ""
    """The file that tells the demo's fleet what to break; set by `brownout up --demo`."""
    otlp_endpoint: str = ""
    """The URL of an OTLP/HTTP collector; empty = no OpenTelemetry."""

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
    def private_channels(self) -> tuple[Network, ...]:
        return parse_networks(self.notify_private_networks)

    @property
    def url(self) -> str:
        return self.public_url.rstrip("/") or server_url(self.host, self.port)


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
        raise SettingsError(f"BROWNOUT_SECRET_KEY: needs at least {MIN_SECRET_KEY} characters")
    if any(len(secret) < MIN_SECRET_KEY for secret in settings.secret_keys):
        raise SettingsError(f"BROWNOUT_SECRET_KEY_PREVIOUS: each needs at least {MIN_SECRET_KEY} characters")
    for name, parse in (
        ("trusted_proxies", parse_networks),
        ("allowed_addresses", parse_networks),
        ("notify_private_networks", parse_networks),
        ("require_second_factor", parse_requirement),
        ("public_url", parse_public_url),
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


def parse_public_url(url: str) -> str:
    """The URL itself. Raises ValueError: it is none, or its path is one that we route ourselves."""
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment):
        raise ValueError("an address such as https://ops.example or https://ops.example/brownout")
    first, *rest = parts.path.strip("/").split("/")
    if not all(re.fullmatch(r"[A-Za-z0-9._~-]*", segment) and segment not in {".", ".."} for segment in (first, *rest)):
        raise ValueError("the path holds letters, digits and . _ ~ - only")
    if first in ROUTED:
        raise ValueError(f"the path must not begin with /{first}, which is Brownout's own")
    return url


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
    """Without white space around it; None when nothing is left, as where Compose passes on what is not set."""
    file = environ.get(f"{name}_FILE", "").strip()
    found = Path(file).read_text(encoding="utf-8") if file else environ.get(name, "")
    return found.strip() or None


def _convert(text: str, hint: object) -> object:
    if hint is Secret:
        return Secret(text)
    try:
        return msgspec.convert(text, type=hint, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None

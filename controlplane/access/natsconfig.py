"""The part of nats-server's configuration that puts Brownout in charge of who connects."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from controlplane.access import traffic
from controlplane.access.callout import APP_ACCOUNT, AUTH_ACCOUNT
from controlplane.access.nkeys import KeyPair

CONTROL_USER = "control"
_FETCH_WITHIN = "5s"
_TIMEOUT_S = 10
"""How long a connection may wait for its answer: a thousand at once wait for each other."""


class NatsSecrets(msgspec.Struct, frozen=True):
    """Three passwords of the control plane's own, and the seed of the account key that signs for SDKs."""

    app_password: str
    auth_password: str
    system_password: str
    issuer_seed: str

    def __repr__(self) -> str:
        return "NatsSecrets(…)"

    @classmethod
    def generate(cls) -> "NatsSecrets":
        app, auth, system = (secrets.token_urlsafe(24) for _ in range(3))
        return cls(app, auth, system, KeyPair("account").seed)

    @classmethod
    def load(cls, path: Path) -> "NatsSecrets":
        """Reads `path`, or makes it (0600) the first time."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            path.write_bytes(msgspec.json.encode(cls.generate()))
        return msgspec.json.decode(path.read_bytes(), type=cls)


_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quoted(text: str) -> str:
    """A string of nats-server's configuration: UTF-8 as it is, for it knows no `\\u` as JSON does."""
    return '"' + "".join(_ESCAPED.get(c) or (c if c >= " " else f"\\x{ord(c):02x}") for c in text) + '"'


def with_credentials(servers: str, user: str, password: str) -> str:
    """`nats://a:4222,nats://b:4222` → the same with user and password in each, replacing any."""
    return ",".join(_with_credentials(server.strip(), user, password) for server in servers.split(","))


def _with_credentials(server: str, user: str, password: str) -> str:
    scheme, _, rest = server.rpartition("://")
    return f"{scheme or 'nats'}://{user}:{quote(password, safe='')}@{rest.rpartition('@')[2]}"


def accounts_config(nats: NatsSecrets) -> str:
    """`accounts` and `authorization` blocks: whoever is not one of our three users is asked about at authd.

    The streams and their API live in our own account. Each environment's SDKs have one of theirs, into which the rows of
    `traffic` lead and nothing else, so that no reply subject an SDK names can mean anything outside of it.
    """
    app, auth, system = (quoted(p) for p in (nats.app_password, nats.auth_password, nats.system_password))
    exports = [f"{{ stream: {quoted(subject)} }}" for subject in traffic.patterns("down")] + [
        # A fetch in pieces has many answers; what is never fetched to its end is forgotten soon.
        f"{{ service: {quoted(subject)}, response_type: stream, response_threshold: {quoted(_FETCH_WITHIN)} }}"
        for subject in traffic.patterns("ask")
    ]
    places = [traffic.account(place) for place in range(traffic.PLACES)]
    imports = [_stream(place, subject) for place in places for subject in traffic.patterns("up")]
    return f"""
accounts {{
  {AUTH_ACCOUNT} {{ users: [{{ user: authd, password: {auth} }}] }}
  {APP_ACCOUNT} {{
    jetstream: enabled
    users: [{{ user: {CONTROL_USER}, password: {app} }}]
    exports: [{_list(exports)}]
    imports: [{_list(imports)}]
  }}
{"".join(_place(place) for place in places)}  SYS {{ users: [{{ user: system, password: {system} }}] }}
}}
system_account: SYS
authorization {{
  timeout: {_TIMEOUT_S}
  auth_callout {{
    issuer: {KeyPair.from_seed(nats.issuer_seed).public}
    account: {AUTH_ACCOUNT}
    auth_users: [authd, control, system]
  }}
}}
"""


def _place(account: str) -> str:
    """One environment's account: no users of its own, no JetStream."""
    exports = [f"{{ stream: {quoted(subject)}, accounts: [{APP_ACCOUNT}] }}" for subject in traffic.patterns("up")]
    imports = [_stream(APP_ACCOUNT, subject) for subject in traffic.patterns("down")]
    for subject in traffic.patterns("ask"):
        for local in (subject, traffic.in_domain(subject)):
            service = f"service: {{ account: {APP_ACCOUNT}, subject: {quoted(subject)} }}"
            imports.append(f"{{ {service}, to: {quoted(local)} }}")
    return f"  {account} {{ exports: [{', '.join(exports)}], imports: [{', '.join(imports)}] }}\n"


def _stream(account: str, subject: str) -> str:
    return f"{{ stream: {{ account: {account}, subject: {quoted(subject)} }} }}"


def _list(entries: Sequence[str]) -> str:
    return "".join(f"\n      {entry}" for entry in entries) + "\n    "


def cluster_config(listen: str, routes: Sequence[str], nats: NatsSecrets, tls: str = "") -> str:
    """The `cluster` block of one node, and pings that find a node which hangs within half a minute.

    `listen` is host:port; `routes` are those of all nodes, the own one included; `tls`: a block for the routes.
    """
    password = quote(nats.system_password, safe="")
    urls = ", ".join(quoted(f"nats://route:{password}@{route}") for route in routes)
    return f"""
ping_interval: "10s"
ping_max: 2
cluster {{
  name: brownout
  listen: {quoted(listen)}
  authorization {{ user: route, password: {quoted(nats.system_password)} }}
  routes: [{urls}]
  {tls}
}}
"""


def node_config(name: str, nodes: Sequence[str], nats: NatsSecrets, folder: str) -> str:
    """The whole configuration of one of `nodes` (host names), with its data in /data: what compose.yaml runs.

    `folder` holds its certificate. Nobody connects without TLS, other nodes neither; the monitor is for the node itself.
    """
    routes = [f"{node}:6222" for node in nodes]
    server = f'server_name: {quoted(name)}\nlisten: "0.0.0.0:4222"\nhttp: "127.0.0.1:8222"\n'
    jetstream = 'jetstream { store_dir: "/data" }\n'
    cluster = cluster_config("0.0.0.0:6222", routes, nats, tls_config(folder, verify=True))
    return server + jetstream + tls_config(folder) + accounts_config(nats) + cluster


def tls_config(folder: str, *, verify: bool = False) -> str:
    """A `tls` block with the certificate in `folder`; `verify`: the other side must show one of the same authority."""
    files = {"cert_file": "server.pem", "key_file": "server.key", "ca_file": "ca.pem"}
    named = ", ".join(f"{name}: {quoted(f'{folder}/{file}')}" for name, file in files.items())
    return f'tls {{ {named}{", verify: true" * verify}, min_version: "1.2" }}\n'

"""The part of nats-server's configuration that puts Brownout in charge of who connects."""

import json
import secrets
from pathlib import Path

import msgspec

from controlplane.access.callout import APP_ACCOUNT, AUTH_ACCOUNT
from controlplane.access.nkeys import KeyPair

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

    def url(self, server: str, user: str) -> str:
        """`server` (`nats://host:port`) with the credentials of `control`, `authd` or `system` in it."""
        password = {"control": self.app_password, "authd": self.auth_password, "system": self.system_password}[user]
        scheme, _, rest = server.partition("://")
        return f"{scheme}://{user}:{password}@{rest}"


def accounts_config(nats: NatsSecrets) -> str:
    """`accounts` and `authorization` blocks: whoever is not one of our three users is asked about at authd."""
    app, auth, system = (json.dumps(p) for p in (nats.app_password, nats.auth_password, nats.system_password))
    return f"""
accounts {{
  {AUTH_ACCOUNT} {{ users: [{{ user: authd, password: {auth} }}] }}
  {APP_ACCOUNT} {{ jetstream: enabled, users: [{{ user: control, password: {app} }}] }}
  SYS {{ users: [{{ user: system, password: {system} }}] }}
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

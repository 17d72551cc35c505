"""What NATS's auth callout answers: which subjects the holder of an SDK key may use. Pure; authd.py carries it."""

import re
from typing import Any

from brownout.wire import fingerprint
from controlplane.access import traffic
from controlplane.access.keytable import KeyTable
from controlplane.access.keyuse import KeyUses
from controlplane.access.nkeys import InvalidTokenError, KeyPair, read_jwt
from controlplane.kit.tokens import digest, well_formed

CALLOUT_SUBJECT = "$SYS.REQ.USER.AUTH"
AUTH_ACCOUNT = "AUTH"
APP_ACCOUNT = "BROWNOUT"

_INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a connection may call itself. A subject is built from it, so no dot, star or chevron."""

_MAX_PAYLOAD = 65_536
_MAX_SUBSCRIPTIONS = 20
_USER = "sdk-key:"


def user_name(key_id: str) -> str:
    """How a connection made with a key is named on the server; revocation finds it by this."""
    return _USER + key_id


def key_id_of(name: str) -> str | None:
    return name.removeprefix(_USER) if name.startswith(_USER) else None


def permissions(environment: str, key: str, instance: str, uses: tuple[str, ...]) -> dict[str, Any]:
    """The whole of what an SDK may do: the rows of `traffic` that its key is for, and no more of anything than it needs."""
    return {
        **traffic.permissions(environment, key, instance, uses),
        "subs": _MAX_SUBSCRIPTIONS,
        "data": -1,
        "payload": _MAX_PAYLOAD,
    }


class Callout:
    """Answers authorization requests from the table alone: no I/O, so a storm costs three signatures each."""

    def __init__(self, issuer: KeyPair, table: KeyTable, uses: KeyUses) -> None:
        self._issuer = issuer
        self._table = table
        self._uses = uses

    def answer(self, request: bytes, now_ms: int) -> bytes:
        """The signed response to one request.

        Raises:
            InvalidTokenError: no NATS server signed this; nobody deserves an answer.
        """
        claims = read_jwt(request)
        try:
            asked = claims["nats"]
            server, user = asked["server_id"]["id"], asked["user_nkey"]
            options = asked.get("connect_opts", {})
            secret, instance = str(options.get("auth_token", "")), str(options.get("name", ""))
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidTokenError("not an authorization request") from error
        if claims["iss"] != server:
            raise InvalidTokenError("not signed by the server that asks")
        jwt, refusal = self._decide(secret, instance, user, now_ms)
        body = {"type": "authorization_response", "jwt": jwt, "error": refusal}
        return self._issuer.issue(user, body, issued_at=now_ms // 1000, audience=server).encode()

    def _decide(self, secret: str, instance: str, user: str, now_ms: int) -> tuple[str, str]:
        """(user JWT, "") or ("", why not). The server logs the reason, the client hears only that it was refused."""
        if not well_formed(secret, "bo_sdk_"):
            return "", "not an SDK key"
        entry = self._table.find(digest(secret), now_ms)
        if entry is None:
            return "", "unknown, expired or revoked SDK key"
        if not _INSTANCE.fullmatch(instance):
            return "", "the connection's name must be an instance id"
        self._uses.note([entry.id], now_ms)
        # No `exp`: a connection that expires is closed for good by nats-py. Revocation kicks instead.
        body = {"type": "user", **permissions(entry.environment, fingerprint(secret), instance, entry.uses)}
        name, account = user_name(entry.id), traffic.account(entry.place)
        return self._issuer.issue(user, body, issued_at=now_ms // 1000, name=name, audience=account), ""

"""Ends NATS connections made with keys that no longer open anything, on every server of the cluster."""

import json
from collections.abc import Set
from typing import NamedTuple

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError

from controlplane.access.callout import key_id_of
from controlplane.kit.apart import Turn

_PAGE = 1024
_QUIET_S = 0.25
"""Every server answers on its own; this much silence means that all have."""


class _Connection(msgspec.Struct):
    cid: int
    authorized_user: str = ""


class _Page(msgspec.Struct):
    connections: list[_Connection] = []
    total: int = 0


class _Server(msgspec.Struct):
    id: str


class _Answer(msgspec.Struct):
    server: _Server
    data: _Page = msgspec.field(default_factory=_Page)


class Swept(NamedTuple):
    """Who was found connected: the key ids that hold, and how many connections were ended."""

    holding: frozenset[str]
    kicked: int


async def kick_all_but(system: Client, live: Set[str]) -> Swept:
    """Disconnects every SDK whose key id is not in `live`. `system`: a system-account connection."""
    found = [
        (key, server, connection.cid)
        for server, connection in await _connections(system)
        if (key := key_id_of(connection.authorized_user)) is not None
    ]
    doomed = [(server, cid) for key, server, cid in found if key not in live]
    nowhere = system.new_inbox()  # the server ignores a KICK that names no reply
    for server, cid in doomed:
        await system.publish(f"$SYS.REQ.SERVER.{server}.KICK", json.dumps({"cid": cid}).encode(), reply=nowhere)
    await system.flush()
    return Swept(frozenset(key for key, _, _ in found if key in live), len(doomed))


async def _connections(system: Client) -> list[tuple[str, _Connection]]:
    """(server id, connection) of everybody, in whichever account."""
    found: list[tuple[str, _Connection]] = []
    offset, largest = 0, _PAGE
    while offset < largest:
        body = json.dumps({"auth": True, "limit": _PAGE, "offset": offset}).encode()
        answers = await _ask_all(system, "$SYS.REQ.SERVER.PING.CONNZ", body)
        found += [(answer.server.id, connection) for answer in answers for connection in answer.data.connections]
        largest = max((answer.data.total for answer in answers), default=0)
        offset += _PAGE
    return found


async def _ask_all(system: Client, subject: str, body: bytes) -> list[_Answer]:
    inbox = system.new_inbox()
    subscription = await system.subscribe(inbox)
    answers: list[_Answer] = []
    turn = Turn("authd")
    try:
        await system.publish(subject, body, reply=inbox)
        while True:
            message = await subscription.next_msg(timeout=_QUIET_S)
            with turn.item("server"):  # the connections of this one stay until it says who has them
                answers.append(msgspec.json.decode(message.data, type=_Answer))
    except (TimeoutError, NatsError):
        return answers
    finally:
        await subscription.unsubscribe()

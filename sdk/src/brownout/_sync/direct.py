"""Reading a stream by Direct Get: one request, any number of answers, no consumer (NATS ADR-31)."""

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from brownout.wire import SIGNATURE_HEADER
from brownout.wire.bundle import Signed

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg


class NotAnsweredError(Exception):
    """Nobody serves the stream right now."""


class Stored(msgspec.Struct, frozen=True):
    """One message of a stream."""

    sequence: int
    message: Signed


def signed(msg: "Msg") -> Signed:
    return Signed(msg.data, (msg.headers or {}).get(SIGNATURE_HEADER, ""))


class DirectGet:
    """Direct Get on one connection. `domain`: the JetStream domain behind a leaf node, or empty."""

    def __init__(self, connection: "Client", domain: str, timeout_s: float) -> None:
        self._connection = connection
        self._prefix = f"$JS.{domain}.API.DIRECT.GET." if domain else "$JS.API.DIRECT.GET."
        self._timeout_s = timeout_s

    async def last(self, stream: str, subject: str) -> Signed | None:
        """The newest message on `subject`, or None when there is none."""
        answers, _ = await self._request(stream, {"last_by_subj": subject})
        return answers[0].message if answers else None

    async def batch(self, stream: str, subject: str, sequence: int, count: int) -> tuple[list[Stored], int]:
        """Up to `count` messages on `subject` from `sequence` on, and how many more there are."""
        return await self._request(stream, {"seq": sequence, "batch": count, "next_by_subj": subject})

    async def _request(self, stream: str, body: dict[str, Any]) -> tuple[list[Stored], int]:
        """Raises NotAnsweredError when there is no responder, or none within the timeout of the last sign of life."""
        arrived: asyncio.Queue[Msg] = asyncio.Queue()

        inbox = self._connection.new_inbox()
        subscription = await self._connection.subscribe(
            inbox, cb=arrived.put, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        try:
            await self._connection.publish(self._prefix + stream, msgspec.json.encode(body), reply=inbox)
            answers: list[Stored] = []
            while True:
                async with asyncio.timeout(self._timeout_s):
                    msg = await arrived.get()
                headers = msg.headers or {}
                status = headers.get("Status", "")
                if not status:
                    answers.append(Stored(_sequence(headers), signed(msg)))
                    if "batch" not in body:
                        return answers, 0
                elif status == "204":
                    return answers, _pending(headers)
                elif status == "404":
                    return answers, 0
                else:
                    raise NotAnsweredError(f"{stream}: status {status} {headers.get('Description', '')}".strip())
        except TimeoutError as error:
            raise NotAnsweredError(f"{stream}: no answer within {self._timeout_s} s") from error
        finally:
            await subscription.unsubscribe()


def _sequence(headers: dict[str, str]) -> int:
    """Raises NotAnsweredError: whatever this is, it is no message of a stream."""
    try:
        return int(headers["Nats-Sequence"])
    except (KeyError, ValueError) as error:
        raise NotAnsweredError("an answer without a sequence") from error


def _pending(headers: dict[str, str]) -> int:
    text = headers.get("Nats-Num-Pending", "0")
    return int(text) if text.isdecimal() else 0

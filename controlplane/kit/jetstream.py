"""The few JetStream requests that we need, as plain requests: what travels is exactly what is written here."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from brownout.wire import SIGNATURE_HEADER, UNREADABLE
from controlplane.kit.link import Link, LinkDownError

STREAM_NOT_FOUND = 10059
NAME_IN_USE = 10058
NO_MESSAGE = 10037
TAKEN = frozenset({10071, 10164, 10158})
"""An expected-sequence header did not hold, or the same message is being stored right now: somebody else was first."""

T = TypeVar("T")

_SIGNATURE = f"\r\n{SIGNATURE_HEADER}:".encode()


class JetStreamUnavailableError(Exception):
    """No answer, no leader, no quorum or no connection: nobody knows whether it happened."""


class JetStreamRefusedError(Exception):
    """JetStream answered no; `code` is its `err_code`."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code

    @property
    def taken(self) -> bool:
        return self.code in TAKEN


class Message(NamedTuple):
    subject: str
    payload: bytes
    headers: Mapping[str, str]


class StoredMessage(msgspec.Struct, frozen=True):
    """As a stream's leader has it; `hdrs` is the block of headers."""

    seq: int
    data: bytes = b""
    hdrs: bytes = b""

    @property
    def signature(self) -> str:
        """Empty when there is none."""
        _, _, rest = self.hdrs.partition(_SIGNATURE)
        return rest.partition(b"\r\n")[0].strip().decode("utf-8", "replace")


class StreamState(msgspec.Struct, frozen=True):
    messages: int
    first_seq: int
    last_seq: int
    subjects: dict[str, int] | None = None
    """How many messages lie on each subject, when that was asked for."""


class StreamInfo(msgspec.Struct, frozen=True):
    config: dict[str, Any]
    state: StreamState


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    error: _Error | None = None


class Acknowledged(msgspec.Struct, frozen=True):
    """Stored at `seq`; `duplicate` when it had been stored before, perhaps by somebody else."""

    seq: int
    duplicate: bool = False


class _Counted(msgspec.Struct, frozen=True):
    val: str


class _Found(msgspec.Struct, frozen=True):
    message: StoredMessage


Outcome = Acknowledged | JetStreamRefusedError


class JetStream:
    """Every method raises JetStreamUnavailableError or JetStreamRefusedError."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def find_stream(self, stream: str, subjects: str = "") -> StreamInfo | None:
        """`subjects`: a wildcard; then the answer also counts the messages on each subject that it matches."""
        body = msgspec.json.encode({"subjects_filter": subjects}) if subjects else b""
        try:
            return await self._ask(f"STREAM.INFO.{stream}", body, StreamInfo)
        except JetStreamRefusedError as error:
            if error.code == STREAM_NOT_FOUND:
                return None
            raise

    async def create_stream(self, config: Mapping[str, Any]) -> StreamInfo:
        return await self._ask(f"STREAM.CREATE.{config['name']}", msgspec.json.encode(config), StreamInfo)

    async def update_stream(self, config: Mapping[str, Any]) -> StreamInfo:
        return await self._ask(f"STREAM.UPDATE.{config['name']}", msgspec.json.encode(config), StreamInfo)

    async def delete_stream(self, stream: str) -> None:
        try:
            await self._ask(f"STREAM.DELETE.{stream}", b"", _Answer)
        except JetStreamRefusedError as error:
            if error.code != STREAM_NOT_FOUND:
                raise

    async def purge(self, stream: str, subject: str, below: int = 0) -> None:
        """Removes the messages on `subject`, or those with a sequence under `below`."""
        body = msgspec.json.encode({"filter": subject, "seq": below} if below else {"filter": subject})
        await self._ask(f"STREAM.PURGE.{stream}", body, _Answer)

    async def find_last(self, stream: str, subject: str) -> StoredMessage | None:
        """The newest message on `subject` as the stream's leader has it.

        Raises:
            JetStreamRefusedError: also when there is no such stream (STREAM_NOT_FOUND).
        """
        body = msgspec.json.encode({"last_by_subj": subject})
        try:
            return (await self._ask(f"STREAM.MSG.GET.{stream}", body, _Found)).message
        except JetStreamRefusedError as error:
            if error.code == NO_MESSAGE:
                return None
            raise

    async def add(self, subject: str, amount: int, timeout_s: float = 1.0) -> int:
        """Adds to the counter on `subject`, in a stream with `allow_msg_counter`, and returns what it is now.

        Raises:
            JetStreamUnavailableError: also when there is no such stream.
        """
        client = self._client()
        try:
            answer = await client.request(subject, b"", timeout=timeout_s, headers={"Nats-Incr": f"{amount:+d}"})
        except (NatsError, OSError, TimeoutError) as error:
            raise JetStreamUnavailableError(f"counter: {error!r}") from error
        return int(_parsed(answer, _Counted).val)

    async def counters(self, stream: str, pattern: str, most: int, timeout_s: float = 1.0) -> dict[str, int]:
        """The counters on subjects that `pattern` matches, with their subjects: up to `most`, which may be 1,000."""
        client = self._client()
        body = msgspec.json.encode({"multi_last": [pattern], "batch": most})
        found: dict[str, int] = {}
        try:
            inbox = client.new_inbox()
            subscription = await client.subscribe(inbox)
            try:
                await client.publish(f"$JS.API.DIRECT.GET.{stream}", body, reply=inbox)
                while True:
                    message = await subscription.next_msg(timeout=timeout_s)
                    status = (message.headers or {}).get("Status", "")
                    if status in {"204", "404"}:
                        return found
                    if status:
                        raise JetStreamRefusedError(int(status), "counters cannot be read")
                    found[(message.headers or {})["Nats-Subject"]] = int(
                        msgspec.json.decode(message.data, type=_Counted).val
                    )
            finally:
                await subscription.unsubscribe()
        except (NatsError, OSError, TimeoutError, KeyError, *UNREADABLE) as error:
            raise JetStreamUnavailableError(f"counters: {error!r}") from error

    async def publish(self, messages: Sequence[Message], timeout_s: float) -> AsyncGenerator[Outcome, None]:
        """Publishes in order without waiting in between; yields what became of each, in the same order.

        `timeout_s` is the longest silence between two answers.
        """
        client = self._client()
        loop = asyncio.get_running_loop()
        inbox = client.new_inbox()
        replies = [f"{inbox}.{index}" for index in range(len(messages))]
        answers: dict[str, asyncio.Future[Msg]] = {reply: loop.create_future() for reply in replies}

        async def on_answer(message: Msg) -> None:
            answer = answers.get(message.subject)
            if answer is not None and not answer.done():
                answer.set_result(message)

        try:
            subscription = await client.subscribe(f"{inbox}.*", cb=on_answer)
            try:
                for reply, message in zip(replies, messages, strict=True):
                    await client.publish(message.subject, message.payload, reply=reply, headers=dict(message.headers))
                for answer in answers.values():
                    yield _outcome(await _within(answer, timeout_s))
            finally:
                await subscription.unsubscribe()
        except (NatsError, OSError, TimeoutError) as error:
            raise JetStreamUnavailableError(f"{len(messages)} messages: {error!r}") from error

    async def publish_all(self, messages: Sequence[Message], timeout_s: float) -> list[int]:
        """The sequences of all messages; raises the first refusal."""
        sequences: list[int] = []
        async with aclosing(self.publish(messages, timeout_s)) as outcomes:
            async for outcome in outcomes:
                if isinstance(outcome, JetStreamRefusedError):
                    raise outcome
                sequences.append(outcome.seq)
        return sequences

    async def publish_one(self, message: Message, timeout_s: float) -> int:
        return (await self.publish_all([message], timeout_s))[0]

    async def _ask(self, verb: str, body: bytes, into: type[T], timeout_s: float = 1.0) -> T:
        client = self._client()
        try:
            answer = await client.request(f"$JS.API.{verb}", body, timeout=timeout_s)
        except (NatsError, OSError, TimeoutError) as error:
            raise JetStreamUnavailableError(f"{verb}: {error!r}") from error
        return _parsed(answer, into)

    def _client(self) -> Client:
        try:
            return self._link.client
        except LinkDownError as error:
            raise JetStreamUnavailableError(str(error)) from error


async def _within(answer: asyncio.Future[Msg], timeout_s: float) -> Msg:
    async with asyncio.timeout(timeout_s):
        return await answer


def _outcome(answer: Msg) -> Outcome:
    try:
        return _parsed(answer, Acknowledged)
    except JetStreamRefusedError as error:
        return error


def _parsed(answer: Msg, into: type[T]) -> T:
    if (answer.headers or {}).get("Status"):
        raise JetStreamUnavailableError("no responders")
    try:
        error = msgspec.json.decode(answer.data, type=_Answer).error
        if error is None:
            return msgspec.json.decode(answer.data, type=into)
    except UNREADABLE as unreadable:
        raise JetStreamUnavailableError(f"an answer that is none: {unreadable}") from unreadable
    if error.code == 503:
        raise JetStreamUnavailableError(error.description)
    raise JetStreamRefusedError(error.err_code, error.description)

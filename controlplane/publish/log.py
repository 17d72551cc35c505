"""An environment's log stream. Its sequence is the revision, so JetStream itself refuses a second or late writer."""

from collections.abc import Sequence
from typing import NamedTuple

from brownout.wire import SIGNATURE_HEADER, Subjects
from controlplane.publish import streams
from controlplane.publish.jetstream import STREAM_NOT_FOUND, JetStream, JetStreamRefusedError, Message
from controlplane.store import StoredEnvelope

ACK_TIMEOUT_S = 0.3
WINDOW_BYTES = 4 * 1024 * 1024


class LogMovedError(Exception):
    """The log does not end where we thought: somebody else published, or it was made anew."""


class Last(NamedTuple):
    """Where a log stream ends. `payload` is None when it is empty and only its next sequence is set."""

    revision: int
    payload: bytes | None


class RevisionLog:
    """Every method raises JetStreamUnavailableError when JetStream does not answer."""

    def __init__(self, environment: str, jetstream: JetStream, replicas: int) -> None:
        self._subjects = Subjects(environment)
        self._jetstream = jetstream
        self._config = streams.log_config(self._subjects, replicas)

    async def find_last(self) -> Last | None:
        """The end of the log as its leader has it; None when there is no such stream."""
        try:
            found = await self._jetstream.find_last(self._subjects.log_stream, self._subjects.log_write)
        except JetStreamRefusedError as error:
            if error.code == STREAM_NOT_FOUND:
                return None
            raise
        if found is not None:
            return Last(found.seq, found.data)
        info = await self._jetstream.find_stream(self._subjects.log_stream)
        return None if info is None else Last(info.state.last_seq, None)

    async def append(self, envelopes: Sequence[StoredEnvelope]) -> None:
        """Appends consecutive revisions.

        Raises:
            LogMovedError: the first of them is not the log's next; some may have been appended.
        """
        window: list[Message] = []
        size = 0
        for envelope in envelopes:
            if size > WINDOW_BYTES:
                await self._send(window, envelope.revision - 1)
                window, size = [], 0
            window.append(self._message(envelope))
            size += len(envelope.payload)
        await self._send(window, envelopes[-1].revision)

    async def correct(self) -> None:
        """Puts drifted settings right; may remove the stream, which `find_last` then tells."""
        await streams.correct(self._jetstream, self._config)

    async def create(self, first_revision: int) -> None:
        await streams.create(self._jetstream, self._config, first_revision)

    async def delete(self) -> None:
        await self._jetstream.delete_stream(self._subjects.log_stream)

    async def _send(self, messages: Sequence[Message], last_revision: int) -> None:
        try:
            sequence = (await self._jetstream.publish(messages, ACK_TIMEOUT_S))[-1]
        except JetStreamRefusedError as error:
            if error.wrong_last_sequence:
                raise LogMovedError(str(error)) from error
            raise
        if sequence != last_revision:
            raise LogMovedError(f"revision {last_revision} was stored as {sequence}")

    def _message(self, envelope: StoredEnvelope) -> Message:
        headers = {
            SIGNATURE_HEADER: envelope.signature,
            "Nats-Msg-Id": f"{envelope.epoch}:{envelope.revision}",
            "Nats-Expected-Last-Sequence": str(envelope.revision - 1),
        }
        return Message(self._subjects.log_write, envelope.payload, headers)

"""An environment's log stream. Its sequence is the revision, so JetStream itself refuses a second or late writer."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from brownout.wire import SIGNATURE_HEADER, Subjects
from controlplane.configuration.store import StoredEnvelope
from controlplane.kit.jetstream import STREAM_NOT_FOUND, JetStream, JetStreamRefusedError, Message
from controlplane.publish import streams

ACK_TIMEOUT_S = 0.3
WINDOW_BYTES = 4 * 1024 * 1024


class LogMovedError(Exception):
    """The log does not end where we thought: somebody else published, or it was made anew."""


class Last(NamedTuple):
    """Where a log stream ends. `payload` is None when it is empty and only its next sequence is set."""

    revision: int
    payload: bytes | None
    signature: str = ""


class Appended(NamedTuple):
    """`ours` is false when the log had it from another replica."""

    envelope: StoredEnvelope
    ours: bool


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
            return Last(found.seq, found.data, found.signature)
        info = await self._jetstream.find_stream(self._subjects.log_stream)
        return None if info is None else Last(info.state.last_seq, None)

    async def append(self, envelopes: Sequence[StoredEnvelope]) -> AsyncGenerator[Appended, None]:
        """Appends consecutive revisions and yields each when the log has it.

        Raises:
            LogMovedError: the next of them is not the log's next.
        """
        for window in _windows(envelopes):
            messages = [self._message(envelope) for envelope in window]
            moved = ""
            async with aclosing(self._jetstream.publish(messages, ACK_TIMEOUT_S)) as outcomes:
                for envelope in window:
                    outcome = await anext(outcomes)
                    if isinstance(outcome, JetStreamRefusedError):
                        if not outcome.taken:
                            raise outcome
                        # Another replica's; one after it may well have been ours again.
                        moved = str(outcome)
                    elif outcome.seq != envelope.revision:
                        moved = f"revision {envelope.revision} was stored as {outcome.seq}"
                    else:
                        yield Appended(envelope, ours=not outcome.duplicate)
            if moved:
                raise LogMovedError(moved)

    async def correct(self) -> None:
        """Puts drifted settings right; may remove the stream, which `find_last` then tells."""
        await streams.correct(self._jetstream, self._config)

    async def create(self, first_revision: int) -> None:
        await streams.create(self._jetstream, self._config, first_revision)

    async def delete(self) -> None:
        await self._jetstream.delete_stream(self._subjects.log_stream)

    def _message(self, envelope: StoredEnvelope) -> Message:
        headers = {
            SIGNATURE_HEADER: envelope.signature,
            "Nats-Msg-Id": f"{envelope.epoch}:{envelope.revision}",
            "Nats-Expected-Last-Sequence": str(envelope.revision - 1),
        }
        return Message(self._subjects.log_write, envelope.payload, headers)


def _windows(envelopes: Sequence[StoredEnvelope]) -> Iterator[Sequence[StoredEnvelope]]:
    """Runs of about WINDOW_BYTES: what is sent before an acknowledgement is waited for."""
    start = size = 0
    for index, envelope in enumerate(envelopes):
        size += len(envelope.payload)
        if size >= WINDOW_BYTES:
            yield envelopes[start : index + 1]
            start, size = index + 1, 0
    if start < len(envelopes):
        yield envelopes[start:]

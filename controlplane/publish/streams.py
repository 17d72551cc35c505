"""An environment's two streams: their exact configuration, made where missing and corrected where different."""

from collections.abc import Mapping
from typing import Any

import structlog

from brownout.wire import Subjects
from controlplane.kit.jetstream import NAME_IN_USE, JetStream, JetStreamRefusedError, StreamInfo

log = structlog.get_logger(__name__)

LOG_MESSAGES = 10_000
DUPLICATE_WINDOW_NS = 120 * 1_000_000_000


_NO_LIMITS: Mapping[str, Any] = {
    "max_age": 0,
    "max_bytes": -1,
    "max_msg_size": -1,
    "sealed": False,
    "deny_purge": False,
}


def log_config(subjects: Subjects, replicas: int) -> dict[str, Any]:
    """The revision log: what the publisher appends to `bow.` the server sends on to SDKs on `bo.`."""
    return {
        **_NO_LIMITS,
        "name": subjects.log_stream,
        "subjects": [subjects.log_write],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs": LOG_MESSAGES,
        "discard": "old",
        "allow_direct": True,
        "deny_delete": True,
        "duplicate_window": DUPLICATE_WINDOW_NS,
        "republish": {"src": subjects.log_write, "dest": subjects.log},
    }


def snapshot_config(subjects: Subjects, replicas: int) -> dict[str, Any]:
    """Snapshots: no age limit, for an environment that nobody changes must stay bootable forever."""
    return {
        **_NO_LIMITS,
        "name": subjects.snapshot_stream,
        "subjects": [subjects.snapshot_all],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "max_msgs_per_subject": 1,
        "discard": "old",
        "allow_direct": True,
    }


def changes(environment: str) -> tuple[str, ...]:
    """Where the server tells that one of the environment's streams was deleted or configured anew."""
    subjects = Subjects(environment)
    return tuple(
        f"$JS.EVENT.ADVISORY.STREAM.{what}.{stream}"
        for what in ("DELETED", "UPDATED")
        for stream in (subjects.log_stream, subjects.snapshot_stream)
    )


async def correct(jetstream: JetStream, config: Mapping[str, Any]) -> StreamInfo | None:
    """The stream as configured, corrected when it is not; None when there is none.

    One that cannot be corrected in place is removed: NATS holds nothing that Postgres does not.

    Raises:
        JetStreamUnavailableError.
    """
    found = await jetstream.find_stream(config["name"])
    if found is None:
        return None
    wrong = drift(found.config, config)
    if not wrong:
        return found
    try:
        corrected = await jetstream.update_stream({**found.config, **config})
    except JetStreamRefusedError as error:
        log.warning("stream_removed", stream=config["name"], settings=wrong, error=str(error))
        await jetstream.delete_stream(config["name"])
        return None
    log.warning("stream_corrected", stream=config["name"], settings=wrong)
    return corrected


async def create(jetstream: JetStream, config: Mapping[str, Any], first_sequence: int = 1) -> None:
    """Creates the stream unless somebody else just did."""
    try:
        await jetstream.create_stream({**config, "first_seq": first_sequence})
    except JetStreamRefusedError as error:
        if error.code != NAME_IN_USE:
            raise


def drift(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of settings that are not as wanted. What the server leaves out is its default, as are `_NO_LIMITS`."""
    return tuple(name for name, value in wanted.items() if found.get(name, _NO_LIMITS.get(name)) != value)

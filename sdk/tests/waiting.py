"""Waiting for what a client will do, without guessing how long it takes."""

import threading
from collections.abc import Callable

from brownout import Brownout

PATIENCE_S = 20.0


def eventually(client: Brownout, condition: Callable[[], bool]) -> None:
    """Returns when `condition` holds; looks whenever the client reports something, and now and then besides."""
    noticed = threading.Event()
    ends = [client.on_change(lambda _: noticed.set()), client.on_status(lambda _: noticed.set())]
    try:
        for _ in range(int(PATIENCE_S / 0.02)):
            if condition():
                return
            noticed.wait(0.02)
            noticed.clear()
        raise AssertionError(f"it never happened: {client.status}")
    finally:
        for end in ends:
            end()


def hears_heartbeats(client: Brownout) -> None:
    """Returns when the client has learned from a heartbeat how often they come."""
    eventually(client, lambda: client._engine._replica.heartbeat_interval_s < 1)


def follows(client: Brownout, revision: int) -> None:
    """Returns when the client serves `revision` and knows it to be the head."""
    eventually(client, lambda: client.status.revision == revision and client.status.sync == "LIVE")

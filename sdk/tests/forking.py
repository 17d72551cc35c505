"""What a forked or spawned process reports back to a test."""

import os
from typing import Any

from brownout import Brownout
from sdk.tests.waiting import follows


def follow(client: Brownout, started: Any, go: Any, results: Any, revision: int) -> None:
    """In a child: says that it runs, waits for the commit, and reports what it then decides."""
    follows(client, revision)
    started.release()
    go.acquire()
    follows(client, revision + 1)
    results.put((os.getpid(), client.status.instance, client.boolean("first"), client.status.counters.restarts))


def connect_and_follow(options: dict[str, Any], started: Any, go: Any, results: Any, revision: int) -> None:
    """The same in a spawned child, which inherits nothing."""
    with Brownout.connect(**options) as client:
        follow(client, started, go, results, revision)

"""A process full of real SDK clients. `python -m tests.chaos.fleet_worker '<JSON of Orders>'`

Writes a JSON line whenever a client has moved, and answers the lines `dump` and `quit`.
"""

import hashlib
import sys
import threading
import time

import msgspec

from brownout import Brownout


class Orders(msgspec.Struct, frozen=True):
    """`disk`: a folder for disk copies, or empty for none."""

    urls: list[str]
    key: str
    environment: str
    count: int
    disk: str = ""


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """`at`: CLOCK_MONOTONIC, which all processes of a machine share."""

    client: int
    epoch: int
    revision: int
    at: float


class Report(msgspec.Struct, frozen=True, tag="report"):
    client: int
    instance: str
    state: str
    sync: str
    source: str
    epoch: int
    revision: int
    digest: str
    """Of every resource, byte for byte."""
    heartbeat_s: float
    bad_signatures: int
    last_error: str


class Dumped(msgspec.Struct, frozen=True, tag="dumped"):
    reports: list[Report]


Said = Applied | Dumped

SAMPLE_S = 0.002

_writing = threading.Lock()


def digest(resources: dict[tuple[str, str], bytes]) -> str:
    hashed = hashlib.sha256()
    for (kind, key), spec in sorted(resources.items()):
        hashed.update(msgspec.json.encode((kind, key, spec.decode())))
    return hashed.hexdigest()


def say(what: Said) -> None:
    with _writing:
        sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
        sys.stdout.buffer.flush()


def report(index: int, client: Brownout) -> Report:
    status = client.status
    resources = {(ref.kind, ref.key): spec for ref, spec in client._compiled.resources.items()}
    return Report(
        client=index,
        instance=status.instance,
        state=status.state,
        sync=status.sync,
        source=status.source,
        epoch=status.epoch,
        revision=status.revision,
        digest=digest(resources),
        heartbeat_s=client._engine._replica.heartbeat_interval_s,
        bad_signatures=status.counters.bad_signatures,
        last_error=status.last_error,
    )


def main(orders: Orders) -> None:
    clients: list[Brownout] = []
    for index in range(orders.count):
        turn = index % len(orders.urls)
        client = Brownout.connect(
            orders.urls[turn:] + orders.urls[:turn],
            key=orders.key,
            environment=orders.environment,
            service="chaos",
            disk=f"{orders.disk}/{index}" if orders.disk else False,
        )
        clients.append(client)
    threading.Thread(target=watch, args=(clients,), daemon=True).start()
    for line in sys.stdin:
        if line.strip() == "dump":
            say(Dumped([report(index, client) for index, client in enumerate(clients)]))
        else:
            break
    for client in clients:
        client.close()


def watch(clients: list[Brownout]) -> None:
    """Says when a client is somewhere else than it was."""
    last = [(0, -1)] * len(clients)
    while True:
        for index, client in enumerate(clients):
            replica = client._engine._replica
            position = (replica.epoch, replica.revision)
            if position != last[index]:
                last[index] = position
                say(Applied(index, *position, time.monotonic()))
        time.sleep(SAMPLE_S)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Orders))

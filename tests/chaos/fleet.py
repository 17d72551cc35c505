"""The fleet as the tests see it: what each SDK applied when, and what each holds now."""

import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from queue import Queue
from typing import IO, NamedTuple

import msgspec

from tests.chaos.fleet_worker import Applied, Dumped, Orders, Report, Said
from tests.chaos.system import ENVIRONMENT, ROOT, System, await_true

DUMP_TIMEOUT_S = 20


class Reached(NamedTuple):
    """A client was at `position` = (epoch, revision) at the monotonic instant `at`."""

    position: tuple[int, int]
    at: float


class _Worker:
    """One process of SDKs, and the thread that reads what it says."""

    def __init__(self, orders: Orders, log: Path) -> None:
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.fleet_worker", msgspec.json.encode(orders).decode()],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out,
            )  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        self._orders_to: IO[bytes] = self._process.stdin
        self._hears: IO[bytes] = self._process.stdout
        self._dumps: Queue[Dumped] = Queue()
        self.clients: list[list[Reached]] = [[] for _ in range(orders.count)]
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def dump(self) -> list[Report]:
        self._orders_to.write(b"dump\n")
        self._orders_to.flush()
        return self._dumps.get(timeout=DUMP_TIMEOUT_S).reports

    def leave(self) -> None:
        """Every client closes, as in a service that ends in peace."""
        self._orders_to.write(b"quit\n")
        self._orders_to.flush()
        self._process.wait(20)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._orders_to.close()
        self._hears.close()

    def _read(self) -> None:
        decoder = msgspec.json.Decoder(Said)
        for line in self._hears:
            said = decoder.decode(line)
            if isinstance(said, Applied):
                self.clients[said.client].append(Reached((said.epoch, said.revision), said.at))
            else:
                self._dumps.put(said)


class Fleet:
    """`size` SDKs, ten in a process."""

    def __init__(self, system: System, size: int = 20, *, name: str = "fleet", disk: Path | None = None) -> None:
        self._heartbeat_s = system.heartbeat_s
        self._workers = [
            _Worker(
                Orders(
                    urls=system.nats_urls,
                    key=system.sdk_key,
                    environment=ENVIRONMENT,
                    count=min(10, size - first),
                    disk=str(disk / str(first)) if disk else "",
                ),
                system.folder / f"{name}.log",
            )
            for first in range(0, size, 10)
        ]

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()

    def leave(self) -> None:
        for worker in self._workers:
            worker.leave()

    @property
    def clients(self) -> list[list[Reached]]:
        return [client for worker in self._workers for client in worker.clients]

    def at(self, position: tuple[int, int]) -> bool:
        """Whether every SDK has reached `position`."""
        return all(client and client[-1].position >= position for client in self.clients)

    def await_at(self, position: tuple[int, int], timeout_s: float) -> float:
        """The seconds until every SDK has reached `position`."""
        try:
            return await_true(lambda: self.at(position), timeout_s, f"every SDK is at {position}")
        except AssertionError:
            late = [report for report in self.dump() if (report.epoch, report.revision) < position]
            raise AssertionError(f"not within {timeout_s:g} s at {position}: {late}") from None

    def dump(self) -> list[Report]:
        return [report for worker in self._workers for report in worker.dump()]

    def settled(self) -> bool:
        """Whether every SDK is live and has heard how often heartbeats come: before, silence means less to it."""
        return all(report.sync == "LIVE" and report.heartbeat_s == self._heartbeat_s for report in self.dump())

    def first_at(self, position: tuple[int, int]) -> list[float]:
        """When each SDK first was at `position` or beyond. Every one must have been."""
        return [next(r.at for r in client if r.position >= position) for client in self.clients]

    def lags(self, acknowledged: Iterable[tuple[tuple[int, int], float]]) -> list[float]:
        """For each acknowledged (position, instant), the seconds until the last SDK had it."""
        return [max(self.first_at(position)) - at for position, at in acknowledged]

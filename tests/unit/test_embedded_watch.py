"""What `brownout up` does when a server of its own ends, and how it writes addresses and NATS's configuration."""

from pathlib import Path

import pytest

from controlplane.access.natsconfig import quoted
from controlplane.embedded.processes import StartError
from controlplane.embedded.stack import Watch
from controlplane.kit.addresses import url


class FakeServer:
    def __init__(self) -> None:
        self.log = Path("log")
        self.running = True
        self.starts = 0
        self.stays_down = False

    def start(self, *, wait: bool = True) -> None:
        assert not wait
        self.starts += 1
        if self.stays_down:
            raise StartError("the port is taken")
        self.running = True


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_nats_is_started_again_at_once_and_then_ever_more_seldom() -> None:
    time, postgres, nats = Time(), FakeServer(), FakeServer()
    watch = Watch(postgres, nats, time)
    assert watch.look() == ""
    nats.running, nats.stays_down = False, True
    tried_at = []
    while time.now < 100:
        before = nats.starts
        assert watch.look() == ""
        if nats.starts > before:
            tried_at.append(time.now)
        time.now += 0.5
    assert tried_at == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 61.5, 91.5]
    nats.stays_down = False
    time.now = 121.5
    assert watch.look() == ""
    assert nats.running


def test_after_a_long_life_it_is_started_again_at_once() -> None:
    time, nats = Time(), FakeServer()
    watch = Watch(FakeServer(), nats, time)
    for death in (1, 2, 3):
        time.now += 1_000
        watch.look()
        nats.running = False
        watch.look()
        assert (nats.starts, nats.running) == (death, True)


def test_without_postgres_there_is_no_going_on() -> None:
    postgres, nats = FakeServer(), FakeServer()
    postgres.running = nats.running = False
    assert "Postgres has ended by itself" in Watch(postgres, nats, Time()).look()
    assert nats.starts == 0


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8412"),
        ("::", "http://[::1]:8412"),
        ("0.0.0.0", "http://127.0.0.1:8412"),
        ("::1", "http://[::1]:8412"),
        ("[::1]", "http://[::1]:8412"),
        ("fe80::1%eth0", "http://[fe80::1%25eth0]:8412"),
        ("flags.example", "http://flags.example:8412"),
    ],
)
def test_where_a_server_is_reached_is_an_address_that_a_browser_takes(host: str, expected: str) -> None:
    assert url(host, 8412) == expected


def test_a_string_of_the_configuration_of_nats() -> None:
    assert quoted('/dátá/中文 "x"\\y\n\x01') == '"/dátá/中文 \\"x\\"\\\\y\\n\\x01"'

import socket
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from controlplane.embedded.processes import StartError, free_port
from controlplane.embedded.stack import choose_port


@pytest.fixture
def busy() -> Iterator[int]:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield port


def test_the_port_asked_for_or_a_refusal(busy: int) -> None:
    asked, remembered = free_port(), free_port()
    assert choose_port(asked, remembered) == asked
    with pytest.raises(StartError, match=f"port {busy} on 127.0.0.1 is already in use"):
        choose_port(busy, remembered)


def test_the_port_of_last_time_before_the_usual_one(busy: int) -> None:
    remembered, usual = free_port(), free_port()
    with capture_logs() as said:
        assert choose_port(0, remembered, usual) == remembered
        assert choose_port(0, 0, usual) == usual
        assert choose_port(0, 0, busy) != busy
    assert said == []


def test_whoever_was_told_the_port_of_last_time_hears_that_it_is_another(busy: int) -> None:
    with capture_logs() as said:
        chosen = choose_port(0, busy)
    assert chosen != busy
    assert [(line["log_level"], line["port"], line["instead"]) for line in said] == [("warning", busy, chosen)]

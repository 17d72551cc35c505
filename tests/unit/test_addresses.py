from types import SimpleNamespace
from typing import Any, cast

import pytest
from litestar.connection import ASGIConnection

from controlplane.http.guard import address_of
from controlplane.kit.addresses import network, parse_networks
from controlplane.services import Services

BEHIND_A_PROXY = cast("Services", SimpleNamespace(settings=SimpleNamespace(proxies=parse_networks("10.0.0.0/8"))))


@pytest.mark.parametrize(
    ("peer", "lines", "address"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.9, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.9", "203.0.113.7"], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.9"], "203.0.113.7"),
        ("::ffff:10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.9, [::ffff:cb00:7107]:443"], "203.0.113.7"),
        ("10.0.0.1", ["[2001:DB8:0::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", ["203.0.113.7, 10.0.0.9:80"], "203.0.113.7"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4:5:6"], "10.0.0.1"),
        ("::ffff:203.0.113.7", ["198.51.100.9"], "203.0.113.7"),
    ],
)
def test_only_a_trusted_proxy_says_where_a_request_comes_from(peer: str, lines: list[str], address: str) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in lines]
    connection = ASGIConnection[Any, Any, Any, Any](
        cast("Any", {"type": "http", "headers": headers, "client": (peer, 1)})
    )
    assert address_of(connection, BEHIND_A_PROXY) == address


def test_one_caller_counts_as_one_however_it_is_written() -> None:
    alike = ["203.0.113.7", "::ffff:203.0.113.7", "203.0.113.7:80", "[::ffff:203.0.113.7]:80", "::FFFF:CB00:7107"]
    assert {network(each) for each in alike} == {"203.0.113.7"}
    assert {network(each) for each in ("2001:db8::1", "[2001:db8::2]:1", "2001:0DB8::ffff%3")} == {"2001:db8::/64"}
    assert network("2001:db8:0:1::1") != network("2001:db8::1")


def test_trusted_networks_may_be_written_mapped() -> None:
    assert parse_networks("::ffff:10.0.0.0/104, ::1") == parse_networks("10.0.0.0/8, ::1")

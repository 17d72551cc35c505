from types import SimpleNamespace
from typing import Any, cast

import pytest
from litestar.connection import ASGIConnection

from controlplane.access.addresses import parse_networks
from controlplane.api.guard import address_of
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
    ],
)
def test_only_a_trusted_proxy_says_where_a_request_comes_from(peer: str, lines: list[str], address: str) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in lines]
    connection = ASGIConnection[Any, Any, Any, Any](
        cast("Any", {"type": "http", "headers": headers, "client": (peer, 1)})
    )
    assert address_of(connection, BEHIND_A_PROXY) == address

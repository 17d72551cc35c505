"""Our reading of a message's headers beside nats-py's own."""

import pytest
from nats.aio.client import Client

from brownout._sync.connection import _Client


@pytest.mark.parametrize(
    "block",
    [
        b"Bo-Sig: k1.c2lnbmF0dXJl==\r\nNats-Sequence: 7\r\nNats-Time-Stamp: 2026-11-22T17:00:00.5Z\r\n\r\n",
        b"Name:value\r\nOther:\t spaced \r\n\r\n",
        b"no colon\r\nEmpty:\r\n\r\n",
        b"Broken: \xff\xfe\r\n\r\n",
        b"",
    ],
)
def test_headers_are_read_as_nats_py_reads_them(block: bytes) -> None:
    assert _Client._parse_header_lines(block) == Client._parse_header_lines(block)

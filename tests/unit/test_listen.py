"""The HTTP socket is ours before anything else starts."""

import pytest

from controlplane.embedded.processes import StartError
from controlplane.server import listen


def test_a_port_is_taken_from_the_moment_it_is_opened() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(StartError, match=f"port {port} on 127.0.0.1 is already in use"):
            listen("127.0.0.1", port)

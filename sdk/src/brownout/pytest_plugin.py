"""The fixture that pytest finds by itself once brownout is installed (entry point `pytest11`)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from brownout.testing import FakeBrownout


@pytest.fixture
def fake_brownout() -> "Iterator[FakeBrownout]":
    """An empty FakeBrownout, to be filled with `set_flag`, `put` and `set_policy`."""
    from brownout.testing import FakeBrownout

    with FakeBrownout() as client:
        yield client

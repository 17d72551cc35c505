import asyncio

import pytest

from controlplane.access.audit import Audit
from controlplane.access.withdrawals import Withdrawals

pytestmark = pytest.mark.anyio


class Asked(Audit):
    def __init__(self) -> None:
        self.times = 0

    async def last_withdrawal(self) -> int:
        self.times += 1
        await asyncio.sleep(0)
        return 7


async def test_a_thousand_viewers_ask_the_database_once() -> None:
    audit = Asked()
    withdrawals = Withdrawals(audit, lambda: 100.0)  # no time passes, however busy the machine is
    assert set(await asyncio.gather(*(withdrawals.last() for _ in range(1000)))) == {7}
    assert audit.times == 1

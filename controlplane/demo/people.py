"""Made-up customers, the same ones at every start."""

import random
from collections.abc import Iterator

CUSTOMERS = 6_000


def customer(number: int) -> dict[str, object]:
    """Who customer `number` is: plan, country, whether in the beta or one of our own."""
    chance = random.Random(number)  # noqa: S311 - people, not secrets
    plan = chance.choices(("free", "pro", "enterprise"), (62, 30, 8))[0]
    found: dict[str, object] = {
        "targeting_key": f"u-{number}",
        "customer": f"c-{number // 3}",
        "plan": plan,
        "country": chance.choice(("de", "fr", "nl", "se", "us")),
        "beta": chance.random() < 0.15,
        "refund_eur": chance.randint(5, 400),
    }
    if chance.random() < 0.01:
        found["email"] = f"u-{number}@copilot.example"
    return found


def arrivals(chance: random.Random) -> Iterator[dict[str, object]]:
    """Customers as they come: a few of them often, most of them seldom."""
    while True:
        yield customer(int(CUSTOMERS * chance.random() ** 1.6))

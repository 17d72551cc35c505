"""Everything that crosses between SDKs and the control plane over NATS, one row each (docs/wire.md, ADR 0035).

`natsconfig` turns the rows into the accounts' exports and imports, `callout` into the permissions of one connection, so
a subject that has no row here is closed twice.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Literal, NamedTuple

from brownout.wire import Subjects

DOMAIN = "hub"
"""The JetStream domain that servers behind leaf nodes reach ours by."""

PLACES = 128
"""How many environments get an account of their own. From then on they share, and only share, see ADR 0035."""


class KeyUse(StrEnum):
    """What an SDK key is for."""

    EVALUATE = "evaluate"
    """Follow the configuration."""
    REPORT = "report"
    """Say that an instance lives, and what it counted."""


ALL_USES = tuple(KeyUse)


class Row(NamedTuple):
    """`flow`: down = the control plane publishes, SDKs subscribe; up = the reverse; ask = an SDK's request that the
    NATS server answers. `subject` has the fields {env}, {key} (fingerprint) and {instance}."""

    name: str
    flow: Literal["down", "up", "ask"]
    subject: str
    use: KeyUse
    built: bool = True

    @property
    def pattern(self) -> str:
        """For all environments, keys and instances."""
        return re.sub(r"BO_[A-Z]+_\{env\}|\{\w+\}", "*", self.subject)

    def within(self, environment: str, key: str, instance: str) -> str:
        return self.subject.format(env=environment, key=key, instance=instance)


ROWS = (
    Row("log", "down", "bo.{env}.log", KeyUse.EVALUATE),
    Row("heartbeat", "down", "bo.{env}.hb", KeyUse.EVALUATE),
    Row("emergency", "down", "bo.{env}.emg", KeyUse.EVALUATE),
    Row("fetch log", "ask", "$JS.API.DIRECT.GET.BO_LOG_{env}", KeyUse.EVALUATE),
    Row("fetch snapshot", "ask", "$JS.API.DIRECT.GET.BO_SNAP_{env}", KeyUse.EVALUATE),
    Row("presence", "up", "bot.{env}.{key}.{instance}.p", KeyUse.REPORT),
    Row("telemetry", "up", "bot.{env}.{key}.{instance}.m", KeyUse.REPORT),
    Row("acknowledgement", "down", "bo.{env}.ack.{key}.{instance}", KeyUse.REPORT),
    Row("lease request", "up", "bot.{env}.{key}.{instance}.lease", KeyUse.EVALUATE),
    Row("lease", "down", "bo.{env}.lease.{key}.{instance}", KeyUse.EVALUATE),
    # Reserved: nobody may use them before what they are for is built.
    Row("review submission", "up", "bot.{env}.{key}.{instance}.review", KeyUse.REPORT, built=False),
    Row("review answer", "down", "bo.{env}.review.{key}", KeyUse.REPORT, built=False),
    Row("drill", "down", "bo.{env}.drill", KeyUse.EVALUATE, built=False),
    Row("drill proof", "up", "bot.{env}.{key}.{instance}.drill", KeyUse.REPORT, built=False),
)


def patterns(flow: str) -> list[str]:
    """The subjects of a flow as accounts export and import them."""
    return list(dict.fromkeys(row.pattern for row in ROWS if row.built and row.flow == flow))


def in_domain(subject: str) -> str:
    """A JetStream API subject as clients behind a leaf node say it."""
    return subject.replace("$JS.API.", f"$JS.{DOMAIN}.API.", 1)


def account(place: int) -> str:
    """The NATS account of the environment that was the `place`-th to get an SDK key."""
    return f"SDK_{place % PLACES}"


def permissions(environment: str, key: str, instance: str, uses: tuple[str, ...]) -> dict[str, dict[str, list[str]]]:
    """What one connection may publish and subscribe to, as a NATS user's claims say it."""
    allowed = [row for row in ROWS if row.built and row.use in uses]
    said = list(_said(allowed, environment, key, instance))
    heard = [row.within(environment, key, instance) for row in allowed if row.flow == "down"]
    if any(row.flow == "ask" for row in allowed):
        heard.append(Subjects(environment).inbox(instance) + ".>")
    return {"pub": _only(said), "sub": _only(heard)}


def _said(rows: list[Row], environment: str, key: str, instance: str) -> Iterator[str]:
    for row in rows:
        subject = row.within(environment, key, instance)
        if row.flow != "down":
            yield subject
        if row.flow == "ask":
            yield in_domain(subject)


def _only(subjects: list[str]) -> dict[str, list[str]]:
    """NATS takes an empty list for everything."""
    return {"allow": subjects} if subjects else {"deny": [">"]}

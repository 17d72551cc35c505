"""`brownout fleet`: who runs what, and waiting until a change is everywhere."""

from typing import Annotated

from brownout.model.levels import LEVEL
from controlplane.access.actor import Action
from controlplane.cli.command import Noun, Option
from controlplane.cli.session import CliError
from controlplane.cli.shown import table
from controlplane.cli.terminal import Table, styled
from controlplane.cli.verb import Call, verb
from controlplane.telemetry.values import CLOCK_OFF_S, FleetSummary, Instances, InstanceView, RefusedList, Spread

app = Noun("fleet", "The running instances, and how changes reach them.")


@verb(app, "status", action=Action.READ)
def status(call: Call) -> None:
    """Count live instances, by revision, and list laggards."""
    found = call.session.get(call.session.path("fleet"), FleetSummary)
    call.answer(found, lambda: _summary(found))


@verb(app, "list", action=Action.READ)
def list_(call: Call, *, limit: Annotated[int, Option(help="The most to list.")] = 200) -> None:
    """Every instance, laggards first."""
    found = call.session.get(call.session.path("fleet", "instances"), Instances, limit=limit)
    call.answer(found, lambda: _instances(found))


@verb(app, "refused", action=Action.READ)
def refused(call: Call) -> None:
    """What SDKs sent in the last day and was not counted."""
    found = call.session.get(call.session.path("fleet", "refused"), RefusedList)
    call.answer(found, lambda: _refused(found))


@verb(app, "wait", action=Action.READ)
def wait(
    call: Call,
    *,
    revision: Annotated[int, Option(help="Which revision.")],
    percent: Annotated[float, Option(help="The share of live instances.", min=0, max=100)] = 100.0,
    timeout: Annotated[float, Option(help="Seconds.", min=0, max=3600)] = 10.0,
) -> None:
    """Wait until the fleet has a revision. Exit code 1 if it does not in time."""
    path = call.session.path("fleet", "convergence", str(revision))
    left = timeout
    while True:
        step = min(left, 20.0)
        found = call.session.get(path, Spread, percent=percent, timeout_s=step)
        left -= step
        if (found.live and found.percent >= percent) or left <= 0:
            break
    call.answer(found, lambda: _spread(found))
    if not found.live or found.percent < percent:
        raise CliError(
            f"r{revision} is on {found.applied} of {found.live} live instances after {timeout:g} s"
            + (f"; behind: {', '.join(found.laggards)}" if found.laggards else "")
        )


def _refused(found: RefusedList) -> Table:
    rows = [(r.reason, r.messages, r.key, r.instance, f"{r.last_at:%H:%M:%S}") for r in found.items]
    return table(("reason", "messages", "SDK key", "last instance", "last seen"), rows)


def _spread(found: Spread) -> str:
    times = [
        f"{share} % in {took / 1000:.2f} s"
        for share, took in ((50, found.took_50_ms), (95, found.took_95_ms), (100, found.took_100_ms))
        if took is not None
    ]
    return f"r{found.revision} on {found.applied} of {found.live} instances" + (
        f" ({', '.join(times)})" if times else ""
    )


def _summary(found: FleetSummary) -> Table:
    rows = [
        ("head", f"r{found.head}"),
        ("published", published_text(found)),
        ("live", f"{found.live}, {found.applied} of them at the head"),
        *([("last commit", _spread(found.convergence))] if found.convergence else []),
        ("states", ", ".join(f"{n} {state}" for state, n in sorted(found.states.items())) or "none"),
        ("revisions", ", ".join(f"r{r.revision}: {r.instances}" for r in found.revisions) or "none"),
    ]
    if found.behind:
        rows.append((styled("yellow", "lagging"), f"{found.behind}: {', '.join(found.lagging)}"))
    return table(("", ""), rows)


def _clock(skew_s: float) -> str:
    """Only what no delay explains."""
    if abs(skew_s) < CLOCK_OFF_S:
        return ""
    return " " + styled("yellow", f"(clock {abs(skew_s):.0f} s {'fast' if skew_s > 0 else 'slow'})")


def _level(level: int) -> str:
    """Only of an SDK that is older than this command line."""
    return "" if level >= LEVEL else " " + styled("yellow", f"(reads level {level} of {LEVEL})")


def _state(one: InstanceView) -> str:
    if not one.live:
        return styled("dim", f"{one.state}, gone")
    own = ", ".join(f"safe mode {each.profile} ({each.origin})" for each in one.outside)
    return f"{one.state} {styled('yellow', own)}" if own else one.state


def published_text(found: FleetSummary) -> str:
    if found.is_published:
        return f"r{found.published}"
    known = "it is not known what NATS has" if found.published is None else f"NATS has r{found.published} only"
    return f"{styled('red', f'not r{found.head}')}: {known}; see /healthz"


def _instances(found: Instances) -> Table:
    rows = [
        (one.instance, one.service, one.sdk_version + _level(one.schema_level),
         f"r{one.revision}" + (" " + styled("yellow", f"({one.behind} behind)") if one.lagging else ""),
         _state(one), f"{one.age_s:.0f} s" + _clock(one.clock_skew_s),
         f"{one.last_seen_at:%H:%M:%S}")
        for one in found.items
    ]  # fmt: skip
    return table(("instance", "service", "SDK", "revision", "state", "age", "last seen"), rows)

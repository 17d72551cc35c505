"""`brownout safe-mode`."""

from collections.abc import Mapping
from typing import Annotated

from controlplane.access.actor import Action
from controlplane.cli.command import Argument, Noun, Option
from controlplane.cli.session import CliError
from controlplane.cli.shown import delivery_text, left, table, warning_lines, when
from controlplane.cli.terminal import TICK, Shown, Table, styled
from controlplane.cli.verb import Call, verb
from controlplane.contract.problems import USAGE
from controlplane.contract.safemode import SafeModeHistory, SafeModeStatus, SwitchedOutput
from controlplane.errors import InvalidInputError
from controlplane.safemode.request import parse_duration
from controlplane.safemode.values import (
    ActiveActivation,
    BlastRadius,
    TouchedClass,
    describe_scope,
    reach_notes,
    share_words,
)

app = Noun("safe-mode", "Switch safe mode on and off; see what it does.")

ProfileArgument = Annotated[
    str, Argument(help="A safe-mode profile, e.g. contain; not needed with --exclude-provider.")
]
Excluded = Annotated[list[str] | None, Option("--exclude-provider", help="Send nothing to this provider; repeatable.")]
ForOption = Annotated[str, Option("--for", help="How long: 90s, 30m, 2h, 1d. Safe mode always has an end.")]
ReasonOption = Annotated[str, Option("--reason", "-r", help="Why; everyone can read it.")]
Services = Annotated[list[str] | None, Option("--service", help="Only this service; repeat for more.")]
Classes = Annotated[list[str] | None, Option("--request-class", help="Only this request class; repeatable.")]
Cohorts = Annotated[list[str] | None, Option("--cohort", help="Only this cohort; repeatable.")]
Providers = Annotated[list[str] | None, Option("--provider", help="Only this provider; repeatable.")]


@verb(app, "on", action=Action.SAFE_MODE)
def on(
    call: Call,
    profile: ProfileArgument = "",
    *,
    exclude_provider: Excluded = None,
    for_: ForOption = "",
    reason: ReasonOption = "",
    service: Services = None,
    request_class: Classes = None,
    cohort: Cohorts = None,
    provider: Providers = None,
    incident: Annotated[str, Option(help="A link or a number.")] = "",
    hold: Annotated[bool, Option("--hold", help="Stay on past the end until lifted.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Only show what it would change.")] = False,
) -> None:
    """Switch a profile on, or a provider off: for everything, or for a part."""
    where = scope(service, request_class, cohort, provider)
    if not profile and not exclude_provider:
        raise CliError("name a profile, or a provider with --exclude-provider", USAGE)
    wanted = {"profile": profile, "exclude_providers": exclude_provider or []}
    if dry_run:
        _preview(call, wanted, where)
        return
    body = {
        **wanted,
        "reason": reason,
        "for_s": seconds(for_) if for_ else None,
        "scope": where,
        "incident": incident or None,
        "on_expiry": "hold" if hold else "lift",
    }
    done = call.session.send("POST", call.session.path("safe-mode", "activations"), body, SwitchedOutput)
    until = f", which was on already, until {when(done.expires_at)}" if done.extended and done.expires_at else ""
    what = "extended" if done.extended else "on"

    def human() -> Shown:
        call.terminal.print(warning_lines(done.warnings))
        return f"{TICK} {what}: {styled('bold', done.key)}{until}\n{reached_text(done)}"

    call.answer(done, human)


@verb(app, "off", action=Action.SAFE_MODE)
def off(
    call: Call,
    key: Annotated[str, Argument(help="An activation; without it, every one.")] = "",
    reason: ReasonOption = "",
) -> None:
    """Lift one activation, or all of them."""
    keys = [key] if key else [a.key for a in _status(call).active]
    if not keys:
        raise CliError("safe mode is off already")
    done = [
        call.session.send("POST", _activation(call, one, "lift"), {"reason": reason}, SwitchedOutput) for one in keys
    ]
    call.answer(done, lambda: "\n".join(f"{TICK} off: {d.key}\n{reached_text(d)}" for d in done))


@verb(app, "extend", action=Action.SAFE_MODE)
def extend(
    call: Call,
    key: Annotated[str, Argument(help="An activation; without it, the only one.")] = "",
    for_: ForOption = "30m",
    reason: ReasonOption = "",
) -> None:
    """Move the end of an activation, counted from now."""
    if not key:
        active = _status(call).active
        if len(active) != 1:
            raise CliError(f"say which one: {', '.join(a.key for a in active) or 'safe mode is off'}", USAGE)
        key = active[0].key
    body = {"for_s": seconds(for_), "reason": reason}
    done = call.session.send("POST", _activation(call, key, "extend"), body, SwitchedOutput)
    call.answer(done, lambda: f"{TICK} extended: {done.key}\n{reached_text(done)}")


@verb(app, "status", action=Action.READ)
def status(call: Call) -> None:
    """Show what is on, and for how long."""
    found = _status(call)
    call.answer(found, lambda: _active(found.active) if found.on else styled("green", "safe mode is off"))


@verb(app, "preview", action=Action.READ)
def preview(
    call: Call,
    profile: ProfileArgument = "",
    *,
    exclude_provider: Excluded = None,
    service: Services = None,
    request_class: Classes = None,
    cohort: Cohorts = None,
    provider: Providers = None,
) -> None:
    """The blast radius: who would notice, what each policy is now, and what it would be then. Switches nothing."""
    what = {"profile": profile, "exclude_providers": exclude_provider or []}
    _preview(call, what, scope(service, request_class, cohort, provider))


@verb(app, "history", action=Action.READ)
def history(call: Call, limit: Annotated[int, Option(min=1, max=200)] = 20) -> None:
    """List every change of safe mode, the newest first."""
    found = call.session.get(call.session.path("safe-mode", "history"), SafeModeHistory, limit=limit)
    rows = [(f"r{s.revision}", when(s.at), s.what, s.profile, describe_scope(s.scope), s.by, s.reason)
            for s in found.items]  # fmt: skip
    call.answer(found, lambda: table(("revision", "at", "what", "profile", "scope", "by", "reason"), rows))


def reached_text(done: SwitchedOutput) -> str:
    """How far it came: by its commit, or without one."""
    if done.delivery is not None:
        return delivery_text(done.delivery)
    until = f" It ends at {when(done.expires_at)} unless you extend it." if done.expires_at else ""
    carried = done.carried
    if carried is None or not carried.expected:
        return f"{done.notice}{until}\nno instance is live"
    what = "apply it" if done.expires_at else "still apply it"
    return f"{done.notice}{until}\n{carried.applied} of {carried.expected} instances {what}"


def _preview(call: Call, what: Mapping[str, object], where: dict[str, list[str]]) -> None:
    body = {**what, "scope": where}
    found = call.session.send("POST", call.session.path("safe-mode", "preview"), body, BlastRadius)
    rows = [
        (row.request_class, _whom(row), effect.what, effect.now or "-", effect.then or "-")
        for row in found.request_classes
        for effect in row.effects
    ] + [("flag " + flag.flag, "anyone", "variant", flag.now, flag.then) for flag in found.flags]
    if found.flags_touched > len(found.flags):
        rows.append(
            (f"{found.flags_touched - len(found.flags):,} more flags", "anyone", "variant", "-", "safe variant")
        )

    def human() -> Shown:
        call.terminal.print(warning_lines(found.warnings))
        call.terminal.print(reach_text(found))
        if found.untouched:
            call.terminal.print(styled("dim", f"untouched: {', '.join(found.untouched)}"))
        return (
            table(("request class", "for", "what", "now", "then"), rows)
            if rows
            else styled("dim", "nothing would change")
        )

    call.answer(found, human)


def _whom(row: TouchedClass) -> str:
    if row.anonymous:
        return "requests without a unit"
    whom = row.cohort or "anyone"
    return whom if row.share == 1 else f"{whom}: {share_words(row.share)}"


def reach_text(found: BlastRadius) -> str:
    """`touches 25% of requests (12 of 48 a minute), 9 of 36 instances, 1 of 4 request classes`."""
    reach = found.reach
    touched = {row.request_class for row in found.request_classes}
    parts = [f"{len(touched)} of {len(touched) + len(found.untouched)} request classes"]
    if reach.of_instances:
        parts.insert(0, f"{reach.instances} of {reach.of_instances} instances")
    if reach.of_requests_per_min:
        share = reach.requests_per_min / reach.of_requests_per_min
        rates = f"{reach.requests_per_min:,.0f} of {reach.of_requests_per_min:,.0f} a minute"
        parts.insert(0, f"{share:.0%} of requests ({rates})")
    more = {"to people": reach.to_people_per_min, "turned away": reach.turned_away_per_min}
    said = [f"; {rate:,.0f} more a minute {what}" for what, rate in more.items() if rate]
    notes = "".join(f"\n{note}" for note in reach_notes(reach))
    return f"touches {', '.join(parts)}{''.join(said)}{notes}"


def seconds(text: str) -> int:
    try:
        return parse_duration(text)
    except InvalidInputError as error:
        raise CliError(error.message, USAGE) from None


def scope(
    services: list[str] | None, classes: list[str] | None, cohorts: list[str] | None, providers: list[str] | None
) -> dict[str, list[str]]:
    return {
        "services": services or [],
        "request_classes": classes or [],
        "cohorts": cohorts or [],
        "providers": providers or [],
    }


def _status(call: Call) -> SafeModeStatus:
    return call.session.get(call.session.path("safe-mode"), SafeModeStatus)


def _activation(call: Call, key: str, what: str) -> str:
    return call.session.path("safe-mode", "activations", key, what)


def _active(active: tuple[ActiveActivation, ...]) -> Table:
    rows = [(a.key, a.profile, describe_scope(a.scope), "OVERDUE" if a.overdue else left(a.left_s), a.actor, a.reason)
            for a in active]  # fmt: skip
    return table(("activation", "profile", "scope", "left", "by", "reason"), rows)

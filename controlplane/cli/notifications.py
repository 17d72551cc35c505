"""`brownout channel`, `team`, `subscription` and `event`: who is told what, and how."""

from typing import Annotated

from controlplane.access.actor import Action
from controlplane.cli.command import Argument, Listing, Option
from controlplane.cli.shown import table, when
from controlplane.cli.terminal import TICK, styled
from controlplane.cli.verb import Call, verb

channel_app = Listing("channel", "Ways to tell people: webhooks, Slack, Teams, PagerDuty, e-mail.")
team_app = Listing("team", "People who are told together.")
subscription_app = Listing("subscription", "Which events go to which channels.")
event_app = Listing("event", "What happened, and who was told.")
GROUPS = (channel_app, team_app, subscription_app, event_app)

KeyArgument = Annotated[str, Argument(help="Its key.")]
TeamOption = Annotated[str, Option(help="The team that it belongs to.")]
NUMBERS = frozenset({"port"})
LISTS = frozenset({"to"})
TONES = {"working": "green", "failing": "red", "paused": "yellow", "page": "red", "warning": "yellow"}


@verb(channel_app, "list", action=Action.READ)
def list_channels(call: Call) -> None:
    """Every channel and how it fares."""
    from controlplane.contract.notify import ChannelList

    found = call.session.get("/channels", ChannelList)
    rows = [
        (each.key, each.kind, each.target, each.team or "", tone(each.state), str(each.waiting) if each.waiting else "",
         each.last_error or (when(each.delivered_at) if each.delivered_at else "nothing delivered yet"))
        for each in found.items
    ]  # fmt: skip
    call.answer(found, lambda: table(("key", "kind", "leads to", "team", "state", "waiting", "last"), rows))


@verb(channel_app, "add", action=Action.MANAGE_ENVIRONMENT)
def add_channel(
    call: Call,
    key: KeyArgument,
    kind: Annotated[str, Argument(help="webhook, slack, teams, pagerduty or email.")],
    field: Annotated[
        list[str],
        Option(
            "--set", help="A field of its configuration, name=value; name=@FILE reads a file, name=- standard input."
        ),
    ],
    team: TeamOption = "",
) -> None:
    """Add a channel, or let one lead elsewhere. What you set is sealed and never shown again."""
    from controlplane.contract.notify import ChannelOutput

    body: dict[str, object] = {"kind": kind, "config": read_fields(field)}
    if team:
        body["team"] = team
    made = call.session.send("PUT", f"/channels/{key}", body, ChannelOutput)
    call.answer(made, lambda: f"{TICK} {made.key} leads to {made.target}. Try it: brownout channel test {made.key}")


@verb(channel_app, "test", action=Action.MANAGE_ENVIRONMENT)
def try_channel(
    call: Call,
    key: KeyArgument,
    wait_s: Annotated[float, Option("--wait-s", min=0, max=60, help="Seconds to wait for the answer.")] = 15,
) -> None:
    """Send a test through a channel, and say what came of it."""
    import time

    from controlplane.cli.session import CliError
    from controlplane.contract.notify import EventOutput

    sent = call.session.send("POST", f"/channels/{key}/test", {}, EventOutput)
    ends = time.monotonic() + wait_s
    while sent.deliveries and sent.deliveries[0].state == "pending" and time.monotonic() < ends:
        time.sleep(0.3)
        sent = call.session.get(f"/events/{sent.id}", EventOutput)
    (one,) = sent.deliveries
    if one.error:
        raise CliError(f"{key} did not take it: {one.error}")
    delivered = one.state == "delivered"
    call.answer(sent, lambda: f"{TICK} {key} took it" if delivered else f"{key} has not answered yet: event {sent.id}")


@verb(channel_app, "pause", action=Action.MANAGE_ENVIRONMENT)
def pause_channel(call: Call, key: KeyArgument, reason: Annotated[str, Option(help="Why.")]) -> None:
    """Send nothing through it until it is resumed; what it would have sent is kept for seven days."""
    from controlplane.contract.notify import ChannelOutput

    made = call.session.send("POST", f"/channels/{key}/pause", {"reason": reason}, ChannelOutput)
    call.answer(made, lambda: f"{TICK} {key} is paused")


@verb(channel_app, "resume", action=Action.MANAGE_ENVIRONMENT)
def resume_channel(
    call: Call,
    key: KeyArgument,
    *,
    skip: Annotated[bool, Option("--skip", help="Do not send what waited; `replay` still can.")] = False,
) -> None:
    """Send again, and first what waited."""
    from controlplane.contract.notify import ChannelOutput

    made = call.session.send("POST", f"/channels/{key}/resume", {"skip": skip}, ChannelOutput)
    call.answer(made, lambda: f"{TICK} {key} sends again")


@verb(channel_app, "replay", action=Action.MANAGE_ENVIRONMENT)
def replay_channel(
    call: Call,
    key: KeyArgument,
    hours: Annotated[float, Option(min=0.01, max=168, help="How far back.")] = 24,
) -> None:
    """Send again what it was given, in the same order and under the same ids."""
    from controlplane.contract.notify import Replayed

    body = {"since_s": int(hours * 3600)}
    made = call.session.send("POST", f"/channels/{key}/replay", body, Replayed)
    call.answer(made, lambda: f"{TICK} {made.events} events are sent again")


@verb(channel_app, "delete", action=Action.MANAGE_ENVIRONMENT)
def delete_channel(call: Call, key: KeyArgument) -> None:
    """Delete a channel that no subscription names."""
    call.session.request("DELETE", f"/channels/{key}")
    call.answer({"deleted": key}, lambda: f"{TICK} {key} is deleted")


@verb(team_app, "list", action=Action.READ)
def list_teams(call: Call) -> None:
    """Every team."""
    from controlplane.contract.notify import TeamList

    found = call.session.get("/teams", TeamList)
    rows = [(each.key, each.name, each.contact) for each in found.items]
    call.answer(found, lambda: table(("key", "name", "contact"), rows))


@verb(team_app, "add", action=Action.MANAGE_ENVIRONMENT)
def add_team(
    call: Call,
    key: KeyArgument,
    name: Annotated[str, Argument(help="Its name.")],
    contact: Annotated[str, Option(help="How to reach them when no channel does.")] = "",
) -> None:
    """Add a team, or change one."""
    from controlplane.notify.values import Team

    made = call.session.send("PUT", f"/teams/{key}", {"name": name, "contact": contact}, Team)
    call.answer(made, lambda: f"{TICK} {made.key}: {made.name}")


@verb(team_app, "delete", action=Action.MANAGE_ENVIRONMENT)
def delete_team(call: Call, key: KeyArgument) -> None:
    """Delete a team without channels and subscriptions."""
    call.session.request("DELETE", f"/teams/{key}")
    call.answer({"deleted": key}, lambda: f"{TICK} {key} is deleted")


@verb(subscription_app, "list", action=Action.READ)
def list_subscriptions(call: Call) -> None:
    """Which events go to which channels."""
    from controlplane.contract.notify import SubscriptionList

    found = call.session.get("/subscriptions", SubscriptionList)
    rows = [
        (each.key, " → ".join(each.channels), ", ".join(each.kinds), ", ".join(each.environments), each.severity,
         each.team or "")
        for each in found.items
    ]  # fmt: skip
    call.answer(found, lambda: table(("key", "channels", "events", "environments", "from", "team"), rows))


@verb(subscription_app, "add", action=Action.MANAGE_ENVIRONMENT)
def add_subscription(
    call: Call,
    key: KeyArgument,
    channel: Annotated[list[str], Argument(help="The channel to tell, then the next ones if it does not take it.")],
    *,
    kind: Annotated[list[str] | None, Option(help="A kind or family of events; repeatable. Without it, all.")] = None,
    where: Annotated[list[str] | None, Option("--in", help="An environment; repeatable. Without it, all.")] = None,
    severity: Annotated[str, Option(help="The least severe: notice, warning or page.")] = "warning",
    team: TeamOption = "",
) -> None:
    """Send events to a channel, and to the next one when it does not take them."""
    from controlplane.contract.notify import SubscriptionOutput

    body = {"channels": channel, "kinds": kind or ["*"], "environments": where or ["*"], "severity": severity,
            **({"team": team} if team else {})}  # fmt: skip
    made = call.session.send("PUT", f"/subscriptions/{key}", body, SubscriptionOutput)
    call.answer(made, lambda: f"{TICK} {made.key}: {', '.join(made.kinds)} → {' → '.join(made.channels)}")


@verb(subscription_app, "delete", action=Action.MANAGE_ENVIRONMENT)
def delete_subscription(call: Call, key: KeyArgument) -> None:
    """Stop sending these events."""
    call.session.request("DELETE", f"/subscriptions/{key}")
    call.answer({"deleted": key}, lambda: f"{TICK} {key} is deleted")


@verb(event_app, "list", action=Action.READ)
def list_events(
    call: Call,
    *,
    kind: Annotated[str, Option(help="A kind or family of events.")] = "",
    everywhere: Annotated[bool, Option("--all", help="Of every environment that you may read.")] = False,
    unacknowledged: Annotated[bool, Option("--unacknowledged", help="Pages that no one has acknowledged.")] = False,
    limit: Annotated[int, Option(min=1, max=200, help="How many.")] = 30,
) -> None:
    """What happened and who was told, the newest first."""
    from controlplane.contract.notify import EventPage

    found = call.session.get(
        "/events", EventPage, environment=None if everywhere else call.session.environment, kind=kind or None,
        unacknowledged="true" if unacknowledged else None, limit=limit,
    )  # fmt: skip
    rows = [
        (str(each.id), when(each.created_at), tone(each.severity), each.title,
         ", ".join(f"{sent.channel} {sent.state}" for sent in each.deliveries), each.acknowledged_by or "")
        for each in found.items
    ]  # fmt: skip
    call.answer(found, lambda: table(("id", "when", "severity", "what", "told", "acknowledged by"), rows))


@verb(event_app, "kinds", action=Action.READ)
def list_kinds(call: Call) -> None:
    """Every kind of event, for subscriptions."""
    from controlplane.contract.notify import EventKindList

    found = call.session.get("/events/kinds", EventKindList)
    rows = [(each.family, each.key, tone(each.severity), "later" if each.reserved else "") for each in found.items]
    call.answer(found, lambda: table(("family", "kind", "severity", ""), rows))


@verb(event_app, "show", action=Action.READ)
def show_event(call: Call, event: Annotated[int, Argument(help="Its id.")]) -> None:
    """One event with its deliveries."""
    from controlplane.contract.notify import EventOutput

    found = call.session.get(f"/events/{event}", EventOutput)
    rows = [(each.channel, each.state, str(each.attempts), each.error) for each in found.deliveries]
    head = [found.title, *(f"  {line}" for line in found.details)]
    told = table(("channel", "state", "attempts", "error"), rows)
    call.answer(found, lambda: [*head, told])


@verb(event_app, "ack", action=Action.ROLLOUT)
def acknowledge_event(call: Call, event: Annotated[int, Argument(help="Its id.")]) -> None:
    """Say that you have it; everyone who was told hears so."""
    from controlplane.contract.notify import EventOutput

    found = call.session.send("POST", f"/events/{event}/ack", {}, EventOutput)
    call.answer(found, lambda: f"{TICK} {found.acknowledged_by} has it: {found.title}")


@verb(event_app, "replay", action=Action.MANAGE_ENVIRONMENT)
def replay_event(call: Call, event: Annotated[int, Argument(help="Its id.")]) -> None:
    """Send it again through every channel that it went to."""
    from controlplane.contract.notify import EventOutput

    found = call.session.send("POST", f"/events/{event}/replay", {}, EventOutput)
    call.answer(found, lambda: f"{TICK} sent again: {found.title}")


def read_fields(given: list[str]) -> dict[str, object]:
    """`name=value` → the configuration of a channel; numbers and lists where the field is one.

    Raises:
        CliError: one has no name, or its file cannot be read.
    """
    import sys
    from pathlib import Path

    from controlplane.cli.session import CliError
    from controlplane.contract.problems import USAGE

    found: dict[str, object] = {}
    for each in given:
        name, is_pair, value = each.partition("=")
        if not is_pair or not name:
            raise CliError("write each field as --set name=value", USAGE)
        try:
            if value == "-":
                value = sys.stdin.read().strip()
            elif value.startswith("@"):
                value = Path(value[1:]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CliError(f"{name}: cannot read {value[1:]} ({type(error).__name__})", USAGE) from None
        if name in NUMBERS and value.isascii() and value.isdigit() and len(value) < 10:
            found[name] = int(value)
        else:
            found[name] = [part.strip() for part in value.split(",")] if name in LISTS else value
    return found


def tone(word: str) -> str:
    return styled(TONES[word], word) if word in TONES else word

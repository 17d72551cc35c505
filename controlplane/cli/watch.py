"""`brownout watch`: a real SDK in the terminal, showing what a service would decide, as it changes."""

import json
import os
import queue
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from controlplane.cli.command import Argument, Noun, Option
from controlplane.cli.explain import parse_context
from controlplane.cli.session import DATA_DIR, CliError, data_dirs
from controlplane.cli.shown import table
from controlplane.cli.terminal import Live, Shown, Terminal, styled
from controlplane.cli.verb import reporting
from controlplane.contract.problems import UNREACHABLE, USAGE

if TYPE_CHECKING:
    from brownout import Brownout, Status
    from brownout.evaluation.decision import Decision

REFRESH_S = 1.0
HEARTBEATS_S = 10.0
"""In this time a living control plane is heard: two heartbeats."""


class Seen(msgspec.Struct, frozen=True):
    """What the SDK holds and decides now. `values` are of the watched flags, `models` of the request classes."""

    at: datetime
    state: str
    sync: str
    source: str
    revision: int
    age_s: float | None
    safe_mode: tuple[str, ...]
    values: dict[str, object]
    models: dict[str, str]


def register(app: Noun) -> None:
    app.add("watch", watch)


def watch(
    flags: Annotated[list[str] | None, Argument(help="Flags to watch; without any, the first twenty.")] = None,
    *,
    context: Annotated[list[str] | None, Option("--context", "-c", help="name=value; repeat for more.")] = None,
    environment: Annotated[str, Option("--env", "-e", envvar="BROWNOUT_ENVIRONMENT")] = "production",
    service: Annotated[
        str, Option(help="The service to be, for safe mode's scopes.", envvar="BROWNOUT_SERVICE")
    ] = "brownout-watch",
    nats: Annotated[str, Option("--nats", help="The NATS URL.", envvar="BROWNOUT_NATS_URL")] = "",
    key: Annotated[str, Option("--key", help="An SDK key.", envvar="BROWNOUT_SDK_KEY", shown=False)] = "",
    data_dir: Annotated[str, Option(help="Where `brownout up` keeps its data.", envvar="BROWNOUT_DATA_DIR")] = "",
    once: Annotated[bool, Option("--once", help="Print the present state and end.")] = False,
    as_json: Annotated[bool, Option("--json", help="One JSON object a change.")] = False,
) -> None:
    """Connect as a service would, and show state, revision and decisions as they change."""
    from brownout import Brownout, ConfigurationError

    with reporting(as_json=as_json):
        found_nats, found_key = connection(nats, key, data_dir, environment)
        try:
            client = Brownout.connect(found_nats, key=found_key, environment=environment, service=service, disk=False)
        except ConfigurationError as error:
            raise CliError(str(error), USAGE) from None
        with client:
            if not client.wait_configured(10):
                raise CliError(f"no answer from {found_nats}: {client.status.last_error or 'not ready'}", UNREACHABLE)
            asked = parse_context(context or [])
            if once:
                client.wait_ready(HEARTBEATS_S)
                seen = _look(client, flags, asked)
                _write(seen) if as_json else Terminal().print(_shown(seen, client.status))
                return
            _follow(client, flags, asked, as_json=as_json)


def _follow(client: "Brownout", flags: list[str] | None, context: dict[str, object], *, as_json: bool) -> None:
    events: queue.SimpleQueue[None] = queue.SimpleQueue()
    client.on_change(lambda _: events.put(None))
    client.on_status(lambda _: events.put(None))
    if as_json:
        while True:
            _write(_look(client, flags, context))
            events.get()
    with Live(Terminal()) as live:
        while True:
            live.update(_shown(_look(client, flags, context), client.status))
            try:
                events.get(timeout=REFRESH_S)
            except queue.Empty:
                continue


def _look(client: "Brownout", flags: Sequence[str] | None, context: dict[str, object]) -> Seen:
    held, status = client.held, client.status
    decisions: dict[str, Decision[object]] = {key: client.decide(key, context) for key in flags or held.flags[:20]}
    policies = {key: client.policy(key, context) for key in held.request_classes}
    return Seen(
        at=datetime.now(UTC),
        state=status.state,
        sync=status.sync,
        source=status.source,
        revision=status.revision,
        age_s=status.age_s,
        safe_mode=held.safe_mode,
        values={key: decision.error_code or decision.variant for key, decision in decisions.items()},
        models={key: found.model.model if found.model else "none" for key, found in policies.items()},
    )


def _shown(seen: Seen, status: "Status") -> list[Shown]:
    colour = {"READY": "green", "STALE": "yellow"}.get(seen.state, "red")
    age = "" if seen.age_s is None else f"confirmed {seen.age_s:.0f} s ago"
    where = f"r{seen.revision}  {seen.sync.lower()} from {seen.source}"
    lines: list[Shown] = [f"{styled(colour, seen.state)}  {where}  {styled('dim', age)}"]
    if seen.safe_mode:
        lines.append(styled("alarm", f"SAFE MODE: {', '.join(seen.safe_mode)}"))
    if status.last_error:
        lines.append(styled("red", status.last_error))
    rows = [("flag", key, value) for key, value in seen.values.items()]
    rows += [("model", key, model) for key, model in seen.models.items()]
    return [*lines, table(("", "", "serves"), rows)]


def _write(seen: Seen) -> None:
    sys.stdout.write(msgspec.json.encode(seen).decode() + "\n")
    sys.stdout.flush()


def connection(nats: str, key: str, data_dir: str, environment: str) -> tuple[str, str]:
    """The NATS URL and the SDK key, from options or variables, else from what `brownout up` wrote."""
    for folder in () if nats and key else data_dirs(data_dir or os.environ.get("BROWNOUT_DATA_DIR", "")):
        try:
            nats = nats or json.loads((folder / "cli.json").read_text())["nats_url"]
            key = key or json.loads((folder / "sdk-keys.json").read_text()).get(environment, "")
        except (OSError, ValueError, KeyError):
            continue
        break
    if not nats or not key:
        raise CliError(
            f"no SDK key for {environment}: set BROWNOUT_NATS_URL and BROWNOUT_SDK_KEY, or run where `brownout up` "
            f"keeps its data ({Path(DATA_DIR)})",
            UNREACHABLE,
        )
    return nats, key

"""`brownout audit`."""

import sys
from datetime import UTC, datetime
from typing import Annotated

from controlplane.access.actor import Action
from controlplane.cli.command import Listing, Option
from controlplane.cli.session import CliError
from controlplane.cli.shown import table, when
from controlplane.cli.terminal import TICK
from controlplane.cli.verb import Call, verb

app = Listing("audit", "The audit log: list, export, verify.")


@verb(app, "list", action=Action.READ_AUDIT)
def list_events(
    call: Call,
    limit: Annotated[int, Option(min=1, max=500)] = 30,
    event: Annotated[str, Option(help="Only this kind, e.g. sign_in or denied.")] = "",
    who: Annotated[str, Option(help="Only by this actor.")] = "",
) -> None:
    """The newest first."""
    from controlplane.contract.access import AuditPage

    found = call.session.get("/audit", AuditPage, limit=limit, event=event, who=who)
    rows = [
        (
            line.sequence, when(datetime.fromtimestamp(line.entry.at_ms / 1000, UTC)), line.entry.actor,
            line.entry.event + ("" if line.entry.outcome == "ok" else f" ({line.entry.outcome})"),
            line.entry.environment, line.entry.target, line.entry.reason, line.entry.address,
        )
        for line in found.items
    ]  # fmt: skip
    call.answer(found, lambda: table(("#", "at", "who", "what", "where", "target", "why", "from"), rows))


@verb(app, "export", action=Action.READ_AUDIT)
def export(call: Call, after: Annotated[int, Option(min=0, help="Lines after this number.")] = 0) -> None:
    """Everything as JSON lines on stdout, each with its place in the chain."""
    answer = call.session.request("GET", "/audit/export", params={"after": after})
    sys.stdout.buffer.write(answer.content)
    sys.stdout.flush()


@verb(app, "verify", action=Action.READ_AUDIT)
def verify(call: Call) -> None:
    """Compute the whole chain again. Keep the head elsewhere: then no one can cut off the end unseen."""
    from controlplane.access.audit import AuditProof

    proof = call.session.get("/audit/verify", AuditProof)
    if proof.broken_at is not None:
        raise CliError(f"the audit log is broken at line {proof.broken_at}")
    call.answer(proof, lambda: f"{TICK} {proof.entries} entries, unbroken; head {proof.head}")

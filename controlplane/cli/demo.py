"""`brownout demo`: break what `brownout up --demo` runs, and mend it."""

from typing import Annotated

from controlplane.access.actor import Action
from controlplane.cli.command import Noun, Option
from controlplane.cli.verb import Call, verb
from controlplane.demo.condition import Condition

app = Noun("demo", "Break the demo's provider or its new model.")


@verb(app, "status", action=Action.READ)
def status(call: Call) -> None:
    """Show what is broken now."""
    found = call.session.get("/demo", Condition)
    call.answer(found, lambda: _said(found))


@verb(app, "break", action=Action.EDIT)
def break_(
    call: Call,
    *,
    fault: Annotated[str, Option(help="outage, rate_limits, slow or refusals.")] = "outage",
) -> None:
    """Break the provider; then try `brownout safe-mode on`."""
    found = call.session.send("POST", "/demo/break", {"fault": fault}, Condition)
    call.answer(found, lambda: _said(found))


@verb(app, "degrade", action=Action.EDIT)
def degrade(call: Call) -> None:
    """Make the new model bad; then watch `brownout rollout watch support-sonnet-5`."""
    found = call.session.send("POST", "/demo/degrade", {}, Condition)
    call.answer(found, lambda: _said(found))


@verb(app, "mend", action=Action.EDIT)
def mend(call: Call) -> None:
    """Mend everything."""
    found = call.session.send("POST", "/demo/mend", {}, Condition)
    call.answer(found, lambda: _said(found))


def _said(condition: Condition) -> str:
    parts = []
    if condition.fault:
        parts.append(f"{condition.provider}: {condition.fault.replace('_', ' ')}")
    if condition.degraded_model:
        parts.append(f"{condition.degraded_model} is degraded")
    return "; ".join(parts) or "all well"

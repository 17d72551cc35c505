"""`brownout approval`: the two-person rule."""

from pathlib import Path
from typing import Annotated

import msgspec

from controlplane.access.actor import Action
from controlplane.cli.command import Argument, Listing, Option
from controlplane.cli.shown import changes_text, commit_text, table, when
from controlplane.cli.terminal import TICK, Shown, styled
from controlplane.cli.verb import Call, verb
from controlplane.contract.dto import CommitOutput

app = Listing("approval", "Proposals, approvals, broken glass.")

NumberArgument = Annotated[int, Argument(min=1, help="Its number.")]


@verb(app, "rule", action=Action.MANAGE_ENVIRONMENT)
def rule(
    call: Call,
    approvals: Annotated[
        int | None, Argument(min=0, max=10, help="The number of approvals; without it, show the rule.")
    ] = None,
) -> None:
    """How many other people must approve a commit in this environment."""
    from controlplane.access.rule import Rule

    path = call.session.path("rule")
    if approvals is None:
        found = call.session.get(path, Rule)
    else:
        found = call.session.send("PUT", path, {"requires_approvals": approvals}, Rule)
    call.answer(found, lambda: f"{found.environment} wants {_approvals(found.requires_approvals)}")


@verb(app, "list", action=Action.READ)
def list_proposals(
    call: Call, only: Annotated[str, Option(help="open, committed, withdrawn or all.")] = "open"
) -> None:
    """Proposals, the newest first."""
    from controlplane.contract.access import ProposalList

    found = call.session.get(call.session.path("proposals"), ProposalList, only=only)
    rows = [
        (p.id, p.author, p.message, f"{sum(a.counts for a in p.approvals)}/{p.needed}", p.state, when(p.updated_at))
        for p in found.items
    ]
    call.answer(found, lambda: table(("#", "by", "why", "approvals", "", "at"), rows))


@verb(app, "show", action=Action.READ)
def show(call: Call, number: NumberArgument) -> None:
    """Show what it would do now, and what others changed meanwhile."""
    from controlplane.contract.access import ProposalDetail

    found = call.session.get(call.session.path("proposals", str(number)), ProposalDetail)

    def human() -> Shown:
        about = found.proposal
        call.terminal.print(f"#{about.id}, edition {about.edition}, by {about.author}: {about.message}")
        for each in about.approvals:
            why = f" {styled('yellow', 'does not count:')} {each.why_not}" if each.why_not else ""
            call.terminal.print(f"  approved by {each.approver}{why}")
        for line in found.preview.effective:
            call.terminal.print(f"  {line}")
        if found.stale:
            changed = ", ".join(f"{each.kind} {each.key}" for each in found.theirs)
            call.terminal.print(f"{styled('yellow', 'stale:')} since then others changed {changed}")
        return changes_text(found.preview.changes)

    call.answer(found, human)


@verb(app, "propose", action=Action.EDIT)
def propose(
    call: Call,
    file: Annotated[Path, Argument(help='JSON: [{"op": "put", "kind": "flag", "key": …, "spec": …}]')],
    message: Annotated[str, Option("--message", "-m", help="Why.")],
) -> None:
    """Propose a commit."""
    from controlplane.contract.access import ProposalOutput

    body = {"ops": msgspec.Raw(file.read_bytes()), "message": message}
    made = call.session.send("POST", call.session.path("proposals"), body, ProposalOutput)
    call.answer(made, lambda: f"{TICK} proposal {made.id}; it needs {_approvals(made.needed)}")


@verb(app, "approve", action=Action.APPROVE)
def approve(
    call: Call,
    number: NumberArgument,
    edition: Annotated[int, Option(min=1, help="The edition you have seen.")],
    note: Annotated[str, Option()] = "",
) -> None:
    """Approve the edition that you have seen."""
    from controlplane.contract.access import ProposalOutput

    body = {"edition": edition, "note": note}
    done = call.session.send("POST", call.session.path("proposals", str(number), "approve"), body, ProposalOutput)
    given = sum(a.counts for a in done.approvals)
    doubts = "".join(f"\n{a.approver} does not count: {a.why_not}" for a in done.approvals if a.why_not)
    call.answer(done, lambda: f"{TICK} {given} of {done.needed} approvals{doubts}")


@verb(app, "commit", action=Action.EDIT)
def commit(call: Call, number: NumberArgument) -> None:
    """Commit a proposal that enough others have approved."""
    done = call.session.send("POST", call.session.path("proposals", str(number), "commit"), {}, CommitOutput)
    call.answer(done, lambda: commit_text(done))


@verb(app, "rebase", action=Action.EDIT)
def rebase(
    call: Call,
    number: NumberArgument,
    edition: Annotated[int, Option(min=1, help="The edition you have seen.")],
    prefer: Annotated[str | None, Option(help="Where both changed a field: mine or theirs.")] = None,
) -> None:
    """Merge it with what others changed since; it loses its approvals."""
    from controlplane.contract.access import ProposalOutput

    body = {"edition": edition, "prefer": prefer}
    done = call.session.send("POST", call.session.path("proposals", str(number), "rebase"), body, ProposalOutput)
    call.answer(done, lambda: f"{TICK} edition {done.edition} on r{done.base_revision}")


@verb(app, "withdraw", action=Action.EDIT)
def withdraw(call: Call, number: NumberArgument, reason: Annotated[str, Option()] = "") -> None:
    """Close it without committing."""
    from controlplane.contract.access import ProposalOutput

    body = {"reason": reason}
    done = call.session.send("POST", call.session.path("proposals", str(number), "withdraw"), body, ProposalOutput)
    call.answer(done, lambda: f"{TICK} proposal {done.id} is withdrawn")


@verb(app, "break-glass", action=Action.BREAK_GLASS)
def break_glass(
    call: Call,
    reason: Annotated[str, Option(help="Everyone can read it.")],
    minutes: Annotated[int, Option(min=1, max=480)] = 60,
) -> None:
    """Commit alone for a while. It alerts everyone, and another person reviews it afterwards."""
    from controlplane.contract.access import BrokenGlass

    body = {"reason": reason, "lasts_s": minutes * 60}
    made = call.session.send("POST", call.session.path("break-glass"), body, BrokenGlass)
    call.answer(
        made, lambda: f"{styled('yellow', '!')} you commit alone in {made.environment} until {when(made.expires_at)}"
    )


@verb(app, "broken", action=Action.READ)
def broken(call: Call, *, every: Annotated[bool, Option("--all", help="Include reviewed ones.")] = False) -> None:
    """List broken glass that waits for a review."""
    from controlplane.contract.access import BrokenGlassList

    found = call.session.get(call.session.path("break-glass"), BrokenGlassList, unreviewed="false" if every else "true")
    rows = [(g.id, g.actor, g.reason, when(g.started_at), ", ".join(g.uses), g.reviewed_by) for g in found.items]
    call.answer(found, lambda: table(("#", "who", "why", "at", "what went through", "reviewed by"), rows))


@verb(app, "review", action=Action.APPROVE)
def review(call: Call, number: NumberArgument, note: Annotated[str, Option(help="What the review found.")]) -> None:
    """Sign that you have looked at what another person did alone."""
    from controlplane.contract.access import BrokenGlass

    path = call.session.path("break-glass", str(number), "review")
    done = call.session.send("POST", path, {"review": note}, BrokenGlass)
    call.answer(done, lambda: f"{TICK} reviewed by {done.reviewed_by}")


def _approvals(number: int) -> str:
    return "1 approval" if number == 1 else f"{number} approvals"

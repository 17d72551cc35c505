"""`brownout history`."""

from datetime import datetime
from typing import Annotated

from controlplane.access.actor import Action
from controlplane.cli.command import Argument, Listing, Option
from controlplane.cli.session import CliError
from controlplane.cli.shown import changes_text, commit_text, table, when
from controlplane.cli.terminal import TICK, Shown
from controlplane.cli.verb import Call, verb
from controlplane.contract.dto import CommitOutput, DiffOutput, History, VerificationOutput
from controlplane.contract.problems import USAGE

app = Listing("history", "Every commit: list, show, diff, restore, verify.")

RevisionArgument = Annotated[int, Argument(min=1)]


@verb(app, "list", action=Action.READ)
def list_history(
    call: Call,
    *,
    limit: Annotated[int, Option(min=1, max=500)] = 20,
    before: Annotated[int | None, Option(help="Revisions below this one.")] = None,
    author: Annotated[str, Option(help="By this author only.")] = "",
    kind: Annotated[str, Option(help="Only commits that changed this kind, e.g. flag.")] = "",
    key: Annotated[str, Option(help="Only commits that changed this key.")] = "",
    since: Annotated[datetime | None, Option(help="Made at or after.")] = None,
    until: Annotated[datetime | None, Option(help="Made before.")] = None,
) -> None:
    """The newest first."""
    found = call.session.get(
        call.session.path("history"),
        History,
        limit=limit,
        before=before,
        author=author,
        kind=kind,
        key=key,
        since=since.astimezone().isoformat() if since else None,
        until=until.astimezone().isoformat() if until else None,
    )
    rows = [(f"r{c.revision}", when(c.created_at), c.author, c.message, "; ".join(c.effective)) for c in found.items]
    call.answer(found, lambda: table(("revision", "at", "by", "why", "what"), rows))


@verb(app, "show", action=Action.READ)
def show(call: Call, revision: RevisionArgument) -> None:
    """One commit and what it changed."""
    found = call.session.get(call.session.path("history", str(revision)), CommitOutput)

    def human() -> Shown:
        call.terminal.print(f"r{found.revision} by {found.author} at {when(found.created_at)}\n{found.message}\n")
        return changes_text(found.changes)

    call.answer(found, human)


@verb(app, "diff", action=Action.READ)
def diff(
    call: Call,
    start: Annotated[int, Argument(min=0, help="One revision.")],
    end: Annotated[int, Argument(min=0, help="The other revision.")],
) -> None:
    """Every resource that differs between two revisions."""
    found = call.session.get(call.session.path("history", "diff"), DiffOutput, **{"from": start, "to": end})
    call.answer(found, lambda: changes_text(found.resources))


@verb(app, "restore", action=Action.EDIT)
def restore(
    call: Call,
    revision: RevisionArgument,
    only: Annotated[list[str] | None, Option(help="kind/key, e.g. flag/web-search; repeat for more.")] = None,
    message: Annotated[str, Option("--message", "-m", help="Why.")] = "",
) -> None:
    """Commit what restores an earlier revision. Safe mode stays as it is."""
    refs = [_ref(text) for text in only or ()]
    path = call.session.path("history", str(revision), "restore")
    commit = call.session.send("POST", path, {"message": message, "refs": refs}, CommitOutput)
    call.answer(commit, lambda: commit_text(commit))


@verb(app, "verify", action=Action.READ)
def verify(call: Call) -> None:
    """Recompute the hash chain and every signature, and the audit log's chain if you may read it."""
    found = call.session.get(call.session.path("history", "verify"), VerificationOutput)
    audit = _audit_proof(call)
    call.answer(found, lambda: f"{TICK} {found.revisions} revisions hold{audit}")
    if found.broken:
        raise CliError(f"revision {found.broken.revision} does not hold: {found.broken.message}")


def _audit_proof(call: Call) -> str:
    """Raises CliError when the audit log is broken."""
    from controlplane.access.audit import AuditProof

    try:
        proof = call.session.get("/audit/verify", AuditProof)
    except CliError as refused:
        if refused.problem is not None and refused.problem.code == "forbidden":
            return "; the audit log is not yours to read"
        raise
    if proof.broken_at is not None:
        raise CliError(f"the audit log is broken at line {proof.broken_at}")
    return f", {proof.entries} audit entries hold; head {proof.head}"


def _ref(text: str) -> dict[str, str]:
    kind, _, key = text.partition("/")
    if not key:
        raise CliError(f"{text!r} is not kind/key", USAGE)
    return {"kind": kind.replace("-", "_"), "key": key}

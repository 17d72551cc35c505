"""History: every commit, one commit, what two revisions differ in."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from controlplane.access.actor import Action
from controlplane.configuration.store.values import Change, Commit, LoggedCommit
from controlplane.contract.kinds import KINDS, row
from controlplane.http.parameters import Before, Revision
from controlplane.web.editing.jsondiff import diff_changes
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import CommitLine, DiffLine, Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Viewer, Visit
from controlplane.web.kit.words import clock, day, measured, seconds, words

PAGE = 50
PERIODS = {"1": "last 24 hours", "7": "last 7 days", "30": "last 30 days"}


class Day(msgspec.Struct, frozen=True):
    name: str
    commits: tuple[CommitLine, ...]


class HistoryPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "history/history.html"

    frame: Frame
    days: tuple[Day, ...]
    who: str
    kind: str
    key: str
    period: str
    kinds: tuple[Option, ...]
    periods: tuple[Option, ...]
    next_href: str
    compare_href: str
    filtered: bool


class Fact(msgspec.Struct, frozen=True):
    label: str
    value: str
    note: str = ""


class CommitPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "history/commit.html"

    frame: Frame
    revision: int
    summary: str
    message: str
    author: str
    created_at: datetime
    effective: tuple[str, ...]
    diff: tuple[DiffLine, ...]
    delivery: tuple[Fact, ...]
    undo_href: str
    restore_href: str
    compare_href: str
    try_href: str
    previous_href: str
    next_href: str


class ComparePage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "history/compare.html"

    frame: Frame
    start: int
    end: int
    diff: tuple[DiffLine, ...]
    resources: int
    compared: bool


class HistoryController(Controller):
    path = "/e/{environment:str}"
    include_in_schema = False

    @get("/history", opt={"action": Action.READ})
    async def list_history(
        self,
        visit: NamedDependency[Visit],
        environment: FromPath[str],
        *,
        who: FromQuery[str] = "",
        kind: FromQuery[str] = "",
        key: FromQuery[str] = "",
        period: FromQuery[str] = "",
        before: Before = None,
    ) -> Response[Any]:
        frame = await visit.frame(environment, "history")
        since = visit.now - timedelta(days=int(period)) if period in PERIODS else None
        found = await visit.services.reads.commits(
            visit.actor, environment, author=who.strip() or None, kind=kind or None, key=key.strip() or None,
            since=since, before=before, limit=PAGE,
        )  # fmt: skip
        asked = {"who": who, "kind": kind, "key": key, "period": period}
        more = len(found) == PAGE and found[-1].revision > 1
        lines = commit_lines(visit, environment, found)
        return visit.page(
            HistoryPage(
                frame=frame,
                days=tuple(
                    Day(name, tuple(group))
                    for name, group in groupby(lines, lambda line: day(line.created_at, visit.now))
                ),
                who=who,
                kind=kind,
                key=key,
                period=period,
                kinds=(Option("", "all kinds"), *(Option(name, words(name)) for name in KINDS)),
                periods=(Option("", "always"), *(Option(value, label) for value, label in PERIODS.items())),
                next_href=url(environment, "history", **asked, before=found[-1].revision) if more else "",
                compare_href=url(environment, "compare"),
                filtered=any(asked.values()),
            )
        )

    @get("/history/{revision:int}", opt={"action": Action.READ})
    async def show_commit(
        self, visit: NamedDependency[Visit], environment: FromPath[str], revision: FromPath[int]
    ) -> Response[Any]:
        commit = await visit.services.reads.commit(visit.actor, environment, revision)
        frame = await visit.frame(environment, "history")
        head = frame.environment.revision
        may = visit.may(Action.EDIT, environment)
        restore = url(environment, "restore", str(revision)) if may else ""
        undo = url(environment, "undo", str(revision)) if may and undoable(commit.changes) else ""
        return visit.page(
            CommitPage(
                frame=frame,
                revision=revision,
                summary=summary_of(commit.effective, commit.message),
                message=commit.message,
                author=commit.author,
                created_at=commit.created_at,
                effective=commit.effective,
                diff=diff_changes(commit.changes),
                delivery=await _delivery(visit, environment, commit),
                undo_href=undo,
                restore_href=restore if revision < head else "",
                compare_href=url(environment, "compare", start=revision, end=head) if revision < head else "",
                try_href=url(environment, "playground", revision=revision),
                previous_href=url(environment, "history", str(revision - 1)) if revision > 1 else "",
                next_href=url(environment, "history", str(revision + 1)) if revision < head else "",
            )
        )

    @get("/compare", opt={"action": Action.READ})
    async def compare(
        self,
        visit: NamedDependency[Visit],
        environment: FromPath[str],
        start: Revision = None,
        end: Revision = None,
    ) -> Response[Any]:
        frame = await visit.frame(environment, "history")
        until = frame.environment.revision if end is None else end
        since = max(0, until - 1) if start is None else start
        found = await visit.services.reads.diff(visit.actor, environment, since, until)
        changes = tuple(Change(each.kind, each.key, each.before, each.after) for each in found.resources)
        return visit.page(
            ComparePage(
                frame=frame,
                start=since,
                end=until,
                diff=diff_changes(changes),
                resources=len(changes),
                compared=start is not None or end is not None,
            )
        )


def undoable(changes: Sequence[Change]) -> bool:
    """Safe mode is lifted or activated, not undone: an old commit must not revive an activation."""
    return any(row(change.kind).restored for change in changes)


def summary_of(effective: Sequence[str], message: str) -> str:
    """One line for a list: the first effect, and how many more there are."""
    if not effective:
        return message
    return effective[0] if len(effective) == 1 else f"{effective[0]}, and {len(effective) - 1} more"


def _lines_of(commit: LoggedCommit) -> tuple[str, str, str]:
    """(what, who, why). Steps of a rollout and switches of safe mode say in their message what they are; what a
    rollout writes down about its progress is bookkeeping."""
    if commit.author.startswith("rollout:"):
        served = [line for line in commit.effective if not line.startswith("rollout ")]
        return commit.message, commit.author, summary_of(served, "")
    if commit.refs and all(ref.kind == "safe_mode_activation" for ref in commit.refs):
        return commit.message, commit.author, ""
    return summary_of(commit.effective, commit.message), commit.author, commit.message


def commit_lines(visit: Viewer, environment: str, commits: Sequence[LoggedCommit]) -> tuple[CommitLine, ...]:
    """Lines of history as lists show them; undo only for who may."""
    may = visit.may(Action.EDIT, environment)
    return tuple(
        CommitLine(
            commit.revision,
            *_lines_of(commit),
            commit.created_at,
            url(environment, "history", str(commit.revision)),
            url(environment, "undo", str(commit.revision))
            if may and any(row(ref.kind).restored for ref in commit.refs)
            else "",
        )
        for commit in commits
    )


async def _delivery(visit: Visit, environment: str, commit: Commit) -> tuple[Fact, ...]:
    """When it was published, and how fast the fleet had it, as the instances said."""
    committed = commit.created_at
    facts = [Fact("Committed", _precisely(committed))]
    deliveries = await visit.services.telemetry.fleet.deliveries(visit.actor, environment, [commit.revision])
    found = deliveries.get(commit.revision)
    if found:
        late = max(0.0, (found.published_at - committed).total_seconds())
        facts.append(Fact("Published", _precisely(found.published_at), f"{seconds(late)} later"))
        steps = (
            ("50 % of fleet", found.took_50_ms),
            ("95 % of fleet", found.took_95_ms),
            (f"All {found.live}", found.took_100_ms),
        )
        facts += [Fact(label, measured(took / 1000)) for label, took in steps if took is not None]
    return (*facts, Fact("Hash", f"{commit.chain[:4]}…{commit.chain[-4:]}"))


def _precisely(instant: datetime) -> str:
    return f"{clock(instant)}.{instant.microsecond // 1000:03d}"

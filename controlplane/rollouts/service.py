"""Rollouts for people: look, create, and every move by hand, with a reason."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from msgspec import UNSET

from brownout.model.faults import InvalidResource
from brownout.model.measures import MEASURES, scale
from brownout.model.parse import decode, encode, parse
from brownout.model.resources import Flag, Progress, ResourceRef, Rollout, Stage
from brownout.wire import Operation
from brownout.wire.telemetry import RequestKey, RequestTotals
from controlplane.access.actor import Action, Actor, authorize
from controlplane.configuration.changes import Changes
from controlplane.configuration.store import StaleRevisionError, Store, every_resource, every_spec
from controlplane.configuration.store.basis import Expected
from controlplane.configuration.store.errors import AlreadyExistsError
from controlplane.configuration.store.values import Commit
from controlplane.contract.pointers import MEMBER, pointing_into
from controlplane.contract.rollout_rules import SERVING
from controlplane.contract.specs import find_spec, get_spec
from controlplane.errors import ConflictError, Fault, InvalidInputError
from controlplane.evidence import shares
from controlplane.evidence.samples import THRESHOLD
from controlplane.kit.clock import Clock
from controlplane.kit.database import Database
from controlplane.rollouts import moves, quorum
from controlplane.rollouts.decide import elapsed_s, look
from controlplane.rollouts.engine import Context, edited_meanwhile, held, read_context
from controlplane.rollouts.evidence import Facts, exposure, mismatch
from controlplane.rollouts.facts import FactReader
from controlplane.rollouts.values import (
    Answered,
    Moved,
    NextStep,
    Preview,
    RolloutList,
    RolloutSummary,
    RolloutView,
    StageView,
    WithoutUnit,
)
from controlplane.telemetry import readings

PREVIEW_TIMES = (1.5, 2.0, 5.0)
MAX_REASON = 500
ATTEMPTS = 3

BY_HAND: dict[str, moves.Move | Literal["delete"]] = {
    "start": "start",
    "pause": "pause",
    "resume": "resume",
    "advance": "advance",
    "finish": "finish",
    "restart": "restart",
    "delete": "delete",
    "roll-back": "roll_back",
    "abort": "abort",
}


class Rollouts:
    """Reading needs READ, every move ROLLOUT."""

    def __init__(self, store: Store, changes: Changes, database: Database, facts: FactReader, clock: Clock) -> None:
        self._store = store
        self._changes = changes
        self._database = database
        self._facts = facts
        self._clock = clock

    async def list(self, actor: Actor, environment: str) -> RolloutList:
        """Running ones first."""
        authorize(actor, Action.READ, environment)
        there = await every_resource(self._store, environment, "rollout")
        read = [(each.key, find_spec(each.spec, Rollout)) for each in there]
        found = [_summary(key, rollout) for key, rollout in read if rollout is not None]
        order = {"running": 0, "paused": 1, "draft": 2, "completed": 3}
        return RolloutList(
            tuple(sorted(found, key=lambda one: (order.get(one.state, 4), one.key))),
            tuple(key for key, rollout in read if rollout is None),
        )

    async def get(self, actor: Actor, environment: str, key: str) -> RolloutView:
        """Raises NotFoundError: there is no such rollout."""
        authorize(actor, Action.READ, environment)
        context = await read_context(self._store, environment, key, self._clock.now())
        facts = await self._facts.read(environment, key, context.rollout)
        return await self._view(context, facts)

    async def create(
        self, actor: Actor, environment: str, key: str, spec: bytes, reason: str, *, start: bool = False
    ) -> Commit:
        """Puts a draft, which changes nothing that is served, or with `start` runs it in the same commit.

        Raises:
            ConflictError: there is one already, or it cannot start.
            InvalidInputError: it is no rollout, names what does not exist, or comes with progress of its own.
        """
        authorize(actor, Action.ROLLOUT, environment)
        rollout = _definition(key, spec)
        for _ in range(ATTEMPTS):
            try:
                return await self._create(actor, environment, key, rollout, _reason(reason), start=start)
            except StaleRevisionError:  # somebody else's commit, which may have made it
                continue
        raise ConflictError("others keep committing; nothing was saved, try again")

    async def _create(
        self, actor: Actor, environment: str, key: str, rollout: Rollout, reason: str, *, start: bool
    ) -> Commit:
        head = await self._store.head(environment)
        if await self._store.find_resource(environment, "rollout", key) is not None:
            raise AlreadyExistsError(ResourceRef("rollout", key))
        before = await self._store.list_commits(environment, kind="rollout", key=key, limit=1)
        made = moves.drafted(rollout, head.revision if before else 0)  # a deleted one's runs keep their evidence
        found = await self._store.find_resource(environment, "flag", rollout.flag) if start else None
        if found is None:
            ops = [moves.put("rollout", key, encode(made))]
        else:
            flag = get_spec(ResourceRef("flag", rollout.flag), found.spec, Flag)
            made = moves.move(made, "start", reason or f"start {key}", self._clock.now())
            await self._check_start(environment, key, made, flag)
            ops = moves.operations(key, made, flag)
        with pointing_into(MEMBER, ops):
            return await self._changes.commit(
                actor, environment, ops, reason or f"rollout {key}",
                action=Action.ROLLOUT, expected_revision=head.revision, machine="rollout",
            )  # fmt: skip

    async def edit(
        self,
        actor: Actor,
        environment: str,
        key: str,
        spec: bytes,
        reason: str,
        *,
        expected_revision: Expected = None,
    ) -> Commit:
        """Gives a rollout that serves no one another definition; it is then a draft.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it serves somebody, or somebody committed since `expected_revision`.
            InvalidInputError: as `create`.
        """
        authorize(actor, Action.ROLLOUT, environment)
        rollout = _definition(key, spec)
        head = await self._store.head(environment)
        found = await self._store.get_resource(environment, "rollout", key)
        before = get_spec(ResourceRef("rollout", key), found.spec, Rollout)
        _refuse_serving(key, before)
        ops = [moves.put("rollout", key, encode(moves.drafted(rollout, before.progress.run)))]
        with pointing_into(MEMBER, ops):
            return await self._changes.commit(
                actor, environment, ops, _reason(reason) or f"edit rollout {key}", action=Action.ROLLOUT,
                expected_revision=head.revision if expected_revision is None else expected_revision, machine="rollout",
            )  # fmt: skip

    async def move(self, actor: Actor, environment: str, key: str, name: str, reason: str) -> Moved:
        """Makes one move by hand, by its name in BY_HAND.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it is in no state for this move, or it moved in this very moment.
            InvalidInputError: no reason given, or there is no such move.
        """
        authorize(actor, Action.ROLLOUT, environment)
        step = BY_HAND.get(name)
        if step is None:
            raise InvalidInputError(f"no move {name!r}; there are {', '.join(BY_HAND)}")
        why = _reason(reason)
        if not why:
            raise InvalidInputError("a reason is required: the next person will ask")
        now = self._clock.now()
        context = await read_context(self._store, environment, key, now)
        message = f"{name} {key}: {why}"
        if step == "delete":
            _refuse_serving(key, context.rollout)
            ops = [Operation("del", "rollout", key)]
            progress = context.rollout.progress
        else:
            after = moves.move(context.rollout, step, why, now)
            if step in {"start", "restart"}:
                await self._check_start(environment, key, after, context.flag)
            if step == "finish":
                moves.refuse_hidden(key, context.flag)
            ops = moves.operations(key, after, context.flag)
            progress = _progress(ops[0])
        commit = await self._changes.commit(
            actor, environment, ops, message,
            action=Action.ROLLOUT, expected_revision=context.revision, machine="rollout",
        )  # fmt: skip
        return Moved(key, commit.revision, "deleted" if step == "delete" else progress.state, progress.stage, message)

    async def _check_start(self, environment: str, key: str, rollout: Rollout, flag: Flag) -> None:
        """Raises ConflictError when another rollout moves the flag, or a stage would serve no one."""
        await self._refuse_second(environment, key, rollout.flag)
        moves.refuse_unreachable(key, rollout, flag)

    async def _refuse_second(self, environment: str, key: str, flag: str) -> None:
        """Two rollouts of one flag would contaminate each other's evidence."""
        for name, other in await every_spec(self._store, environment, "rollout", Rollout):
            if name != key and other.flag == flag and other.progress.state in {"running", "paused"}:
                raise ConflictError(f"the rollout {name} is already moving the flag {flag}")

    async def _view(self, context: Context, facts: Facts) -> RolloutView:
        rollout, now = context.rollout, self._clock.now()
        decision, judged = await asyncio.to_thread(look, rollout, facts, context.profiles, now)
        decision = held(context, decision)
        return RolloutView(
            summary=_summary(context.key, rollout),
            revision=context.revision,
            spec=rollout,
            stages=tuple(_stage(rollout, index, stage) for index, stage in enumerate(rollout.stages)),
            request_classes=context.request_classes,
            safe_mode=tuple(context.safe_mode),
            next=NextStep(decision.act, decision.why, decision.ready_at),
            elapsed_s=elapsed_s(rollout.progress, now),
            instances=len(facts.witnesses),
            instances_needed=quorum.needed(facts),
            treatment_units=facts.treatment_units,
            control_units=facts.control_units,
            mismatch_evidence=mismatch(rollout, facts),
            mismatch_threshold=THRESHOLD,
            judged=judged,
            answered=await self._answered(context),
            preview=await self._preview(context, facts),
            edited=edited_meanwhile(context),
            without_unit=await self._without_unit(context),
        )

    async def _without_unit(self, context: Context) -> WithoutUnit | None:
        rollout, now = context.rollout, self._clock.now()
        started_at = rollout.progress.started_at
        if rollout.progress.state not in SERVING or started_at is None:
            return None
        since = readings.quarter(max(started_at, now - timedelta(days=1)))
        async with self._database.reading() as connection:
            evaluations = await readings.without_unit(
                connection, context.environment, rollout.flag, rollout.control,
                since=since, until=now + timedelta(seconds=1),
            )  # fmt: skip
        return WithoutUnit(evaluations, rollout.control, since)

    async def _preview(self, context: Context, facts: Facts) -> tuple[Preview, ...]:
        rollout = context.rollout
        stage = rollout.stages[rollout.progress.stage]
        threshold = max(1, len(rollout.guardrails)) / rollout.alpha
        usual = await self._usual(context)
        found = []
        for guardrail in rollout.guardrails:
            if scale(guardrail.measure) != "share" or guardrail.max_rate is not None:
                continue
            rate = _control_rate(facts, guardrail.measure)
            if rate is None and guardrail.measure in MEASURES:
                rate = _rate(usual, guardrail.measure)
            units = {
                f"{times:g}": shares.units_needed(
                    rate, stage.weight_bp / 10_000, allowed=guardrail.no_worse_than, actual=times, threshold=threshold
                )
                if rate
                else None
                for times in PREVIEW_TIMES
            }
            found.append(Preview(guardrail.measure, rate, units))
        return tuple(found)

    async def _usual(self, context: Context) -> RequestTotals:
        """The last day of the request classes that the flag governs, in its control variant."""
        total = RequestTotals()
        for key, totals in await self._requests(context, self._clock.now() - timedelta(days=1)):
            if key.variant == context.rollout.control and not key.safe_mode:
                total = total.plus(totals)
        return total

    async def _answered(self, context: Context) -> Answered:
        rollout = context.rollout
        if rollout.progress.started_at is None:
            return Answered()
        found = await self._requests(context, readings.quarter(rollout.progress.started_at))
        return Answered(readings.answered(found, rollout.treatment), readings.answered(found, rollout.control))

    async def _requests(self, context: Context, since: datetime) -> Sequence[tuple[RequestKey, RequestTotals]]:
        """Of the request classes that the flag governs."""
        found = []
        until = self._clock.now() + timedelta(seconds=1)
        async with self._database.reading() as connection:
            for name in context.request_classes:
                found += await readings.requests(connection, context.environment, name, since=since, until=until)
        return found


def _definition(key: str, spec: bytes) -> Rollout:
    """What people write of a rollout. Raises InvalidInputError."""
    rollout = _read(key, spec)
    if rollout.progress != Progress():
        why = "a new rollout is a draft; leave its progress out"
        raise InvalidInputError(why, (Fault("invalid_value", why, "/spec/progress"),))
    return rollout


def _refuse_serving(key: str, rollout: Rollout) -> None:
    """Raises ConflictError unless the rollout serves no one by itself."""
    state = rollout.progress.state
    if state not in moves.EDITABLE:
        way = "finish it, or roll it back" if state == "completed" else "abort it, or roll it back"
        raise ConflictError(
            f"the rollout {key} is {state} and serves {rollout.treatment}. Nothing was saved: {way} first"
        )


def _progress(op: Operation) -> Progress:
    """Where the rollout is that a move puts."""
    assert op.spec is not UNSET
    rollout = decode("rollout", bytes(op.spec))
    assert isinstance(rollout, Rollout)
    return rollout.progress


def _read(key: str, spec: bytes) -> Rollout:
    try:
        rollout = parse("rollout", key, spec)
    except InvalidResource as error:
        faults = tuple(Fault(fault.code, fault.message, "/spec" + fault.pointer) for fault in error.faults)
        raise InvalidInputError("that is no rollout", faults) from None
    assert isinstance(rollout, Rollout)
    return rollout


def _summary(key: str, rollout: Rollout) -> RolloutSummary:
    progress = rollout.progress
    stage = rollout.stages[progress.stage]
    serving = progress.state in SERVING
    return RolloutSummary(
        key=key,
        flag=rollout.flag,
        control=rollout.control,
        treatment=rollout.treatment,
        state=progress.state,
        stage=progress.stage,
        stages=len(rollout.stages),
        cohort=stage.cohort,
        share_bp=stage.weight_bp if serving else 0,
        started_at=progress.started_at,
        why=progress.why,
        owner=rollout.owner,
    )


def _stage(rollout: Rollout, index: int, stage: Stage) -> StageView:
    """A stage is next only while the rollout can still come to it."""
    progress = rollout.progress
    if progress.state in {"completed", "finished"}:
        state = "passed"
    elif progress.state == "draft":
        state = "next" if index == 0 else "later"
    elif index < progress.stage:
        state = "passed"
    elif progress.state in {"rolled_back", "aborted"}:
        state = "stopped" if index == progress.stage and progress.started_at is not None else "not_reached"
    else:
        state = "current" if index == progress.stage else "next" if index == progress.stage + 1 else "later"
    return StageView(
        index, stage.cohort, stage.weight_bp, stage.min_duration_s, stage.min_units, stage.approval,
        state,  # type: ignore[arg-type]
    )  # fmt: skip


def _control_rate(facts: Facts, measure: str) -> float | None:
    at_risk = sum(exposure(minute.control, measure) for minute in facts.minutes)
    bad = sum(minute.control.bad.get(measure, 0) for minute in facts.minutes)
    return bad / at_risk if at_risk >= 100 and bad else None


def _rate(totals: RequestTotals, measure: str) -> float | None:
    parts: dict[str, tuple[int, int]] = {
        "error": (sum(totals.errors.values()), totals.requests),
        "refusal": (totals.refusals, totals.requests),
        "format_error": (totals.format_errors, totals.format_checked),
        "fallback": (sum(totals.fallbacks.values()), totals.requests),
        "escalation": (totals.escalations, totals.requests),
        "incomplete": (totals.completion_known - totals.completions, totals.completion_known),
        "retrieval_miss": (totals.retrieval_misses, totals.retrievals),
    }
    bad, n = parts[measure]
    return bad / n if n else None


def _reason(text: str) -> str:
    return " ".join(text.split())[:MAX_REASON]

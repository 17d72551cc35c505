"""Request classes as a matrix: the effective policy of each class for each cohort, and what a profile would make of it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from brownout.evaluation.compile import Compiled
from brownout.evaluation.decision import Decision
from brownout.evaluation.evaluate import policy
from brownout.evaluation.policy import Policy, PolicyRung
from brownout.model.resources import ResourceRef
from brownout.model.values import Window
from controlplane.access.actor import Action
from controlplane.safemode.members import example_member
from controlplane.safemode.request import ActivationRequest
from controlplane.web.flags.state import serve_words
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import NowThen, Option, Rung
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import NBSP, plural, short, span, words
from controlplane.web.overview.page import class_note
from controlplane.web.safe_mode.profiles import profile_cards

MAX_COHORTS = 5
PAGE = 20


class MatrixCell(msgspec.Struct, frozen=True):
    """What one class gives one cohort. `same`: as everyone, so nothing is shown but that."""

    same: bool
    note: str
    rungs: tuple[Rung, ...]
    facts: tuple[tuple[str, str], ...]
    then: tuple[NowThen, ...]
    """What the chosen profile changes; empty: nothing."""


class MatrixRow(msgspec.Struct, frozen=True):
    request_class: str
    href: str
    note: str
    cells: tuple[MatrixCell, ...]


class MatrixPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "request_classes/matrix.html"

    frame: Frame
    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    unknown: tuple[str, ...]
    profile: str
    profile_title: str
    profiles: tuple[Option, ...]
    activate_href: str
    new_href: str
    next_href: str
    search: str


class MatrixController(Controller):
    path = "/e/{environment:str}/request-classes"
    include_in_schema = False

    @get(opt={"action": Action.READ})
    async def show(
        self,
        visit: NamedDependency[Visit],
        environment: FromPath[str],
        *,
        profile: FromQuery[str] = "",
        q: FromQuery[str] = "",
        after: FromQuery[str] = "",
    ) -> Response[Any]:
        frame = await visit.frame(environment, "request-classes")
        page = await visit.services.reads.resources(
            visit.actor, environment, "request_class", search=q, after=after, limit=PAGE
        )
        cards = await profile_cards(visit, environment)
        card = next((card for card in cards if card.key == profile), None)
        changes = await _changes(visit, environment, profile) if card else {}
        compiled = await visit.services.evaluations.compiled(environment)
        compiled.set_now(visit.now)
        members = _members(compiled)
        contexts: dict[str, dict[str, object]] = {"": {}} | {
            name: member for name, member in members.items() if member is not None
        }
        may = visit.may(Action.EDIT, environment)
        return visit.page(
            MatrixPage(
                frame=frame,
                columns=("Everyone", *(name for name in contexts if name)),
                rows=tuple(_row(environment, compiled, item.key, contexts, changes) for item in page.items),
                unknown=tuple(name for name, member in members.items() if member is None),
                profile=card.key if card else "",
                profile_title=card.title if card else "",
                profiles=(Option("", "no profile"), *(Option(each.key, each.title) for each in cards)),
                activate_href=card.activate_href if card else "",
                new_href=url(environment, "request-classes", "new") if may else "",
                next_href=url(environment, "request-classes", profile=profile, q=q, after=page.next)
                if page.next
                else "",
                search=q,
            )
        )


def _members(compiled: Compiled) -> dict[str, dict[str, object] | None]:
    cohorts = sorted(ref.key for ref in compiled.resources if ref.kind == "cohort")[:MAX_COHORTS]
    return {cohort: example_member(compiled, cohort) for cohort in cohorts}


async def _changes(visit: Visit, environment: str, profile: str) -> dict[tuple[str, str], tuple[NowThen, ...]]:
    """What the profile would change, by class and cohort."""
    found = await visit.services.safe_mode_preview.preview(visit.actor, environment, ActivationRequest(profile=profile))
    return {
        (row.request_class, row.cohort): tuple(
            NowThen(effect.what, _last_names(effect.what, effect.now), _last_names(effect.what, effect.then))
            for effect in row.effects
            if effect.what != "banner"  # the same everywhere: the profile says it
        )
        for row in found.request_classes
    }


def _last_names(what: str, said: str) -> str:
    """Models without their providers: the cell is narrow, and the route says the rest."""
    if what not in {"model", "ladder"}:
        return said.replace("≤ ", f"≤{NBSP}")
    return " → ".join(part.rpartition("/")[2] for part in said.split(" → "))


def _row(
    environment: str,
    compiled: Compiled,
    key: str,
    contexts: Mapping[str, dict[str, object]],
    changes: Mapping[tuple[str, str], tuple[NowThen, ...]],
) -> MatrixRow:
    everyone = policy(compiled, key, {})
    cells: list[MatrixCell] = []
    for cohort, context in contexts.items():
        found = everyone if not cohort else policy(compiled, key, context)
        then = changes.get((key, cohort), changes.get((key, ""), ()))
        shown = _shape(found)
        note = _splits(compiled, found)
        same = (
            bool(cohort) and shown == _shape(everyone) and note == cells[0].note and then == changes.get((key, ""), ())
        )
        cells.append(MatrixCell(same, note, *shown, then))
    note = class_note(compiled.resources[ResourceRef("request_class", key)])
    return MatrixRow(key, url(environment, "request-classes", key), note, tuple(cells))


def _splits(compiled: Compiled, found: Policy) -> str:
    """What is split between units, and which side of it the cell shows: small 90 %, big 10 %; shown: big."""
    return "; ".join(
        f"{field}: {serve_words(_split(compiled, decision))}; shown: {decision.variant}"
        for field, decision in found.provenance.items()
        if decision.reason == "SPLIT"
    )


class _Rule(msgspec.Struct):
    id: str
    serve: Any


class _Serves(msgspec.Struct):
    default: Any
    rules: tuple[_Rule, ...] = ()


def _split(compiled: Compiled, decision: Decision[Any]) -> Any:
    """What the rule that decided serves, or the flag's default."""
    flag = msgspec.json.decode(compiled.resources[ResourceRef("flag", decision.flag)], type=_Serves)
    return next((rule.serve for rule in flag.rules if rule.id == decision.rule), flag.default)


def _shape(found: Policy) -> tuple[tuple[Rung, ...], tuple[tuple[str, str], ...]]:
    first = (Rung("model", found.model.model),) if found.model else ()
    limit = found.model.params.max_output_tokens if found.model else None
    asked = found.budget.per_request
    outputs = [value for value in (limit, asked.max_output_tokens) if value is not None]
    budget = " · ".join(
        part
        for part in (
            f"{short(asked.max_input_tokens)} in" if asked.max_input_tokens else "",
            f"{short(min(outputs))} out" if outputs else "",
        )
        if part
    )
    window = found.budget.window
    facts = (
        ("Budget", f"{budget} tok" if budget else "no limit"),
        *((("Fleet", _window(window)),) if window else ()),
        ("Tools", _tools(found)),
        ("Tries", _tries(found)),
    )
    return (*first, *map(_rung, found.ladder.rungs)), facts


def _window(window: Window) -> str:
    """What the whole fleet may spend: 2.4 M tokens a minute."""
    amount = f"${window.limit / 1e6:,.2f}" if window.unit == "usd_micros" else f"{short(window.limit)} {window.unit}"
    by = f" for each {', '.join(map(words, window.scope))}" if window.scope else ""
    return f"{amount} {'an' if window.per == 'hour' else 'a'} {window.per}{by}"


def _rung(each: PolicyRung) -> Rung:
    rung = each.rung
    on = ", ".join(map(words, rung.on))
    if each.target is not None:
        return Rung("model", each.target.model, on)
    if rung.type == "cache":
        return Rung("cache", f"≤ {span(rung.max_age_s)}" if rung.max_age_s else "cache", on)
    if rung.type == "human_review":
        return Rung("human", rung.queue or "a person", on)
    return Rung(rung.type, rung.template or rung.type, on)


def _tools(found: Policy) -> str:
    tools = found.tools
    if not tools.include or "*" in tools.exclude:
        return "none"
    said = "all" if "*" in tools.include else plural(len(tools.include), "tool")
    if tools.exclude:
        said += f", without {', '.join(tools.exclude)}"
    return f"{said}, {len(tools.require_approval)} after approval" if tools.require_approval else said


def _tries(found: Policy) -> str:
    said = str(found.retry.max_attempts)
    return (
        f"{said}, before the first token"
        if found.retry.before_first_token_only and found.retry.max_attempts > 1
        else said
    )

"""Planning a rollout: a typed form; the draft's own page then says how many units its guardrails need."""

from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import inspect, structs

from brownout.model.measures import AMOUNT, EVENT, MEAN_MEASURES, MEASURES, VALUE
from brownout.model.parse import encode
from brownout.model.resources import Progress, Rollout
from controlplane.access.actor import Action
from controlplane.errors import BrownoutError
from controlplane.rollouts.words import measure_words
from controlplane.web.editing.draft import Document, change
from controlplane.web.editing.sent import document_of, errors_of, sent
from controlplane.web.editing.typed_form import Node, Place, fields, find, new_item, offer
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit, saved

PLAN: Document = {
    "flag": "",
    "control": "",
    "treatment": "",
    "unit": "targeting_key",
    "stages": [
        {"weight_bp": 500, "min_duration_s": 3600, "min_units": 200},
        {"weight_bp": 2500, "min_duration_s": 3600, "min_units": 500},
        {"weight_bp": 10000, "min_duration_s": 3600, "min_units": 0, "approval": True},
    ],
    "guardrails": [{"measure": "error", "no_worse_than": 1.5, "action": "rollback"}],
    "gates": [{"measure": "refusal", "no_worse_than": 1.5}],
}
"""A careful start; every number of it can be changed."""

HINTS = {
    "flag": "Its variants are compared.",
    "control": "The variant that people get now.",
    "treatment": "The variant to move to.",
    "unit": "The attribute that keeps a unit in one arm.",
    "min_duration_s": "Paused time is not counted.",
    "min_units": "Minimum units in the treatment.",
    "approval": "A person decides before it goes on.",
    "measure": "Of requests, or what services track: event:name counts units, value:name is better when high, amount:name when low.",
    "no_worse_than": "As a multiple of the control.",
    "max_rate": "Instead of a multiple: a share of the treatment's requests, 0.05 for 5 %.",
    "max_drop": "How far quality may fall.",
    "action": "Safe mode also rolls back.",
    "profile": "What action “safe mode” activates.",
    "on_inconclusive": "Time and units are reached, a gate is not: hold waits, advance goes on, rollback goes back.",
    "on_no_data": "The time is over and the units did not come: the same three.",
    "finish": "Automatic: once it completes, what it serves becomes the flag's own.",
    "alpha": "How often, at most, a good treatment may be rolled back.",
}


class RolloutForm(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "rollouts/rollout_form.html"

    frame: Frame
    post: str
    save: str
    key: str
    reason: str
    nodes: tuple[Node, ...]
    error: str
    base: int
    """The revision of a draft that is edited; 0: a new one."""


class NewRolloutPage(RolloutForm, frozen=True, kw_only=True):
    template: ClassVar[str] = "rollouts/rollout_new.html"

    back: str
    choose_flag: bool


class NewRolloutController(Controller):
    path = "/e/{environment:str}/rollouts"
    include_in_schema = False

    @get("/new", opt={"action": Action.ROLLOUT})
    async def plan(
        self, visit: NamedDependency[Visit], environment: FromPath[str], flag: FromQuery[str] = ""
    ) -> Response[Any]:
        document: Document = msgspec.json.decode(msgspec.json.encode({**PLAN, "flag": flag}))
        return await _show(visit, environment, document, {}, key="", reason="", error="")

    @get("/{key:str}/edit", opt={"action": Action.ROLLOUT})
    async def edit(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str]
    ) -> Response[Any]:
        found = await visit.services.rollouts.get(visit.actor, environment, key)
        document = document_of(encode(structs.replace(found.spec, progress=Progress())))
        return await _show(visit, environment, document, {}, key=key, reason="", error="", base=found.revision)

    @post("/new", opt={"action": Action.ROLLOUT}, status_code=200)
    async def change_plan(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        form = dict(await visit.form())
        draft = await sent(visit)
        struct = inspect.type_info(Rollout)
        if draft.command:
            change(draft.document, draft.command, lambda path: new_item(find(struct, path.split("/")[1:])))
        return await _show(
            visit, environment, draft.document, {}, key=draft.key, reason=form.get("reason", ""), error="",
            base=draft.base,
        )  # fmt: skip

    @post("/save", opt={"action": Action.ROLLOUT}, status_code=200)
    async def save(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        """Makes the draft. Nothing is served differently before it starts."""
        form = dict(await visit.form())
        draft = await sent(visit)
        errors = dict(errors_of("rollout", draft.key, draft.document))
        if not errors:
            spec = msgspec.json.encode(draft.document)
            rollouts, reason = visit.services.rollouts, form.get("reason", "")
            try:
                if draft.base:
                    commit = await rollouts.edit(
                        visit.actor, environment, draft.key, spec, reason, expected_revision=draft.base
                    )
                else:
                    commit = await rollouts.create(visit.actor, environment, draft.key, spec, reason)
            except BrownoutError as error:
                errors = {fault.pointer: fault.message for fault in error.faults} or {"": await visit.refusal(error)}
            else:
                return saved(environment, commit.revision, "rollouts", draft.key)
        first = next(iter(errors.values()))
        return await _show(
            visit, environment, draft.document, errors, key=draft.key, reason=form.get("reason", ""), error=first,
            base=draft.base,
        )  # fmt: skip


async def _show(
    visit: Visit,
    environment: str,
    document: Document,
    errors: dict[str, str],
    *,
    key: str,
    reason: str,
    error: str,
    base: int = 0,
) -> Response[Any]:
    variants = await _variants(visit, environment, str(document.get("flag", "")))
    form = RolloutForm(
        frame=await visit.frame(environment, "rollouts"),
        post=url(environment, "rollouts", "new"),
        save=url(environment, "rollouts", "save"),
        key=key,
        reason=reason,
        nodes=await _nodes(visit, environment, document, errors, variants),
        error=error,
        base=base,
    )
    if visit.partial:
        return visit.page(form)
    values = {name: getattr(form, name) for name in form.__struct_fields__}
    return visit.page(
        NewRolloutPage(**values, back=url(environment, "rollouts"), choose_flag=not variants), 422 if error else 200
    )


async def _variants(visit: Visit, environment: str, flag: str) -> tuple[str, ...]:
    found = await visit.services.reads.find(visit.actor, environment, "flag", flag) if flag else None
    variants = document_of(found.spec).get("variants") if found else None
    return tuple(variants) if isinstance(variants, dict) else ()


async def _nodes(
    visit: Visit, environment: str, document: Document, errors: dict[str, str], variants: tuple[str, ...]
) -> tuple[Node, ...]:
    async def keys(kind: str) -> list[str]:
        return [
            item.key for item in (await visit.services.reads.resources(visit.actor, environment, kind, limit=500)).items
        ]

    choices = {
        "flag": _picker("choose…", await keys("flag")),
        "control": _picker("choose…", variants),
        "treatment": _picker("choose…", variants),
        "cohort": _picker("everyone", await keys("cohort")),
        "profile": _picker("none", await keys("safe_mode_profile")),
    }
    made = fields(Rollout, document, Place("", "", "", errors, HINTS), frozenset({"progress"}))
    names = await visit.services.telemetry.signals.tracked(visit.actor, environment)
    return tuple(offer(node, choices, {"measure": _measures(names)}) for node in made)


def _measures(names: Iterable[str]) -> tuple[Option, ...]:
    """Those of requests, then each tracked name as an event, a value and an amount."""
    custom = tuple(kind + name for name in names for kind in (EVENT, VALUE, AMOUNT))
    return tuple(Option(measure, measure_words(measure)) for measure in (*MEASURES, *MEAN_MEASURES, *custom))


def _picker(none: str, keys: Iterable[str]) -> tuple[Option, ...]:
    return (Option("", none), *(Option(key, key) for key in keys))

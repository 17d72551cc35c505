"""The activate dialog: which profile, where, for how long, why; and whom it touches, before anybody confirms."""

import secrets
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from brownout.model.resources import Flag, SafeModeProfile, Scope
from brownout.model.values import ModelRoute
from controlplane.access.actor import Action
from controlplane.contract.outages import outage_keys
from controlplane.contract.specs import find_spec
from controlplane.errors import BrownoutError, InvalidInputError, NotFoundError, UnavailableError
from controlplane.http.guard import by_log
from controlplane.kit.tasks import give_up_after
from controlplane.safemode.request import ActivationRequest
from controlplane.safemode.values import BlastRadius, TouchedClass, reach_notes, share_words
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import NowThen, Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit, saved
from controlplane.web.kit.words import NBSP, count, number, percent, plural, span
from controlplane.web.safe_mode import emergency
from controlplane.web.safe_mode.profiles import ProfileCard, profile_cards

DURATIONS = (Option("900", "15 min"), Option("3600", "1 h"), Option("14400", "4 h"), Option("86400", "24 h"))
OUTAGE = "outage:"
"""Before a provider's name in the choice of a profile: no key has a colon."""

COLUMNS = (
    "model",
    "tools",
    "temperature",
    "input tokens",
    "output tokens",
    "attempts",
    "sensitive",
    "ladder",
    "shed",
    "stop",
)
"""What of a policy the table can show, in this order; only what changes gets a column."""


class Chip(msgspec.Struct, frozen=True):
    value: str
    chosen: bool


class ChipGroup(msgspec.Struct, frozen=True):
    """One list of the scope. `name` is the form's field."""

    name: str
    label: str
    chips: tuple[Chip, ...]


class BigNumber(msgspec.Struct, frozen=True):
    label: str
    value: str
    note: str


class RadiusRow(msgspec.Struct, frozen=True):
    """`share` is what part of the requests has this outcome now; empty: all."""

    request_class: str
    cohort: str
    share: str
    values: tuple[NowThen, ...]


class Radius(msgspec.Struct, frozen=True, kw_only=True):
    """Whom it touches. `wrong` says why nothing can be said."""

    numbers: tuple[BigNumber, ...]
    columns: tuple[str, ...]
    rows: tuple[RadiusRow, ...]
    untouched: tuple[str, ...]
    flags: tuple[NowThen, ...]
    more_flags: int
    unknown: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    banner: str
    revision: int
    wrong: str


class RadiusPart(View, frozen=True, kw_only=True):
    """Swapped in when a choice changes."""

    template: ClassVar[str] = "safe_mode/radius.html"

    radius: Radius


class ActivatePage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "safe_mode/activate.html"

    frame: Frame
    profiles: tuple[ProfileCard, ...]
    outages: tuple[Option, ...]
    profile: str
    scoped: bool
    groups: tuple[ChipGroup, ...]
    durations: tuple[Option, ...]
    for_s: str
    hold: bool
    reason: str
    incident: str
    errors: dict[str, str]
    radius: Radius
    action: str
    radius_url: str
    back: str
    token: str
    button: str


class Asked(msgspec.Struct, frozen=True):
    """The form as it was sent, or as it starts."""

    profile: str
    scoped: bool = False
    scope: Scope = Scope()
    for_s: str = "3600"
    hold: bool = False
    reason: str = ""
    incident: str = ""
    confirm: str = ""
    token: str = ""

    def request(self) -> ActivationRequest:
        seconds = number(self.for_s) if self.for_s.isdigit() else None
        provider = self.profile.removeprefix(OUTAGE) if self.profile.startswith(OUTAGE) else ""
        return ActivationRequest(
            profile="" if provider else self.profile,
            exclude_providers=(provider,) if provider else (),
            reason=self.reason,
            scope=self.scope if self.scoped else Scope(),
            for_s=seconds,
            incident=self.incident.strip() or None,
            on_expiry="hold" if self.hold else "lift",
        )


class ActivateController(Controller):
    path = "/e/{environment:str}/safe-mode"
    include_in_schema = False

    @get("/activate", opt={"action": Action.SAFE_MODE, "emergency": True})
    async def ask(
        self, visit: NamedDependency[Visit], environment: FromPath[str], profile: FromQuery[str] = ""
    ) -> Response[Any]:
        patience_s = emergency.patience_s(visit)
        try:
            return await give_up_after(by_log(visit.request, self._ask(visit, environment, profile)), patience_s)
        except (UnavailableError, TimeoutError):
            if patience_s is None:
                raise
            return emergency.page(visit, environment, emergency.EmergencyForm(profile))

    async def _ask(self, visit: Visit, environment: str, profile: str) -> Response[Any]:
        cards = await profile_cards(visit, environment)
        known = {card.key for card in cards}
        chosen = profile if profile in known or profile.startswith(OUTAGE) else next((card.key for card in cards), "")
        return await _page(visit, environment, cards, Asked(chosen, token=secrets.token_hex(16)), {})

    @get("/radius", opt={"action": Action.READ})
    async def show_radius(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        asked = _asked(list(visit.request.query_params.multi_items()))
        return visit.page(RadiusPart(radius=await _radius(visit, environment, asked)))

    @post("/activate", opt={"action": Action.SAFE_MODE, "emergency": True}, status_code=200)
    async def activate(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        asked = _asked(await visit.form())
        patience_s = emergency.patience_s(visit)
        try:
            return await give_up_after(by_log(visit.request, self._activate(visit, environment, asked)), patience_s)
        except (UnavailableError, TimeoutError):
            if patience_s is None:
                raise
            return await emergency.activate(visit, environment, asked.request(), asked.token)

    async def _activate(self, visit: Visit, environment: str, asked: Asked) -> Response[Any]:
        cards = await profile_cards(visit, environment)
        frame = await visit.frame(environment, "safe-mode")
        if frame.environment.production and asked.confirm.strip() != frame.environment.key:
            errors = {"confirm": f"Not activated. Type “{frame.environment.key}” exactly."}
            return await _page(visit, environment, cards, asked, errors)
        try:
            done = await visit.services.safe_mode.activate(
                visit.actor,
                environment,
                asked.request(),
                idempotency_key=f"console-{asked.token}" if asked.token else None,
            )
        except UnavailableError:
            raise
        except BrownoutError as error:
            errors = {fault.pointer.strip("/").partition("/")[0]: fault.message for fault in error.faults}
            if "exclude_providers" in errors:
                errors["profile"] = errors.pop("exclude_providers")
            return await _page(visit, environment, cards, asked, errors or {"reason": await visit.refusal(error)})
        return saved(environment, done.commit.revision, "safe-mode")


def _asked(fields: Sequence[tuple[str, str]]) -> Asked:
    plain = dict(fields)

    def several(name: str) -> tuple[str, ...]:
        return tuple(value for field, value in fields if field == name)

    return Asked(
        profile=plain.get("profile", ""),
        scoped=plain.get("scoped") == "yes",
        scope=Scope(
            services=several("services"),
            request_classes=several("request_classes"),
            cohorts=several("cohorts"),
            providers=several("providers"),
        ),
        for_s=plain.get("for_s", "3600"),
        hold=plain.get("hold") == "yes",
        reason=plain.get("reason", ""),
        incident=plain.get("incident", ""),
        confirm=plain.get("confirm", ""),
        token=plain.get("token", ""),
    )


async def _page(
    visit: Visit, environment: str, cards: tuple[ProfileCard, ...], asked: Asked, errors: dict[str, str]
) -> Response[Any]:
    outages = await _outages(visit, environment, cards)
    titles = {card.key: card.title for card in cards} | {each.value: f"{each.label} outage" for each in outages}
    title = titles.get(asked.profile, "")
    lasts = next(
        (option.label for option in DURATIONS if option.value == asked.for_s), span(float(number(asked.for_s)))
    )
    view = ActivatePage(
        frame=await visit.frame(environment, "safe-mode"),
        profiles=cards,
        outages=outages,
        profile=asked.profile,
        scoped=asked.scoped,
        groups=await _groups(visit, environment, asked.scope),
        durations=DURATIONS,
        for_s=asked.for_s,
        hold=asked.hold,
        reason=asked.reason,
        incident=asked.incident,
        errors=errors,
        radius=await _radius(visit, environment, asked),
        action=url(environment, "safe-mode", "activate"),
        radius_url=url(environment, "safe-mode", "radius"),
        back=url(environment),
        token=asked.token,
        button=f"Activate {title} for {lasts}",
    )
    return visit.page(view, 422 if errors else 200)


async def _outages(visit: Visit, environment: str, cards: tuple[ProfileCard, ...]) -> tuple[Option, ...]:
    """A choice for each provider in use whose outage has no profile yet."""
    compiled = await visit.services.evaluations.compiled(environment)
    there = {card.key for card in cards}
    found = sorted(_providers(compiled.resources))
    return tuple(Option(OUTAGE + name, name) for name in found if outage_keys((name,))[0] not in there)


async def _groups(visit: Visit, environment: str, scope: Scope) -> tuple[ChipGroup, ...]:
    reads, actor = visit.services.reads, visit.actor
    instances = visit.services.telemetry.fleet.instances(actor, environment, limit=10_000)
    classes = await reads.resources(actor, environment, "request_class", limit=100)
    cohorts = await reads.resources(actor, environment, "cohort", limit=100)
    compiled = await visit.services.evaluations.compiled(environment)
    lists = (
        ("services", "Services", {each.service for each in instances if each.live and each.service}, scope.services),
        ("request_classes", "Request classes", {item.key for item in classes.items}, scope.request_classes),
        ("cohorts", "Cohorts", {item.key for item in cohorts.items}, scope.cohorts),
        ("providers", "Providers", _providers(compiled.resources), scope.providers),
    )
    return tuple(
        ChipGroup(name, label, tuple(Chip(value, value in chosen) for value in sorted(values | set(chosen))))
        for name, label, values, chosen in lists
        if values or chosen
    )


def _providers(resources: Any) -> set[str]:
    """Named by any model route. Only routes are decoded."""
    routes = (spec for ref, spec in resources.items() if ref.kind == "flag" and b'"type":"model_route"' in spec)
    return {target.provider for spec in routes for variant in _variants(spec) for target in variant.targets.values()}


def _variants(spec: bytes) -> tuple[ModelRoute, ...]:
    flag = find_spec(spec, Flag)
    return tuple(each for each in flag.variants.values() if isinstance(each, ModelRoute)) if flag else ()


async def _radius(visit: Visit, environment: str, asked: Asked) -> Radius:
    try:
        found = await visit.services.safe_mode_preview.preview(visit.actor, environment, asked.request())
    except (InvalidInputError, NotFoundError) as error:
        return Radius(numbers=(), columns=(), rows=(), untouched=(), flags=(), more_flags=0, unknown=(), warnings=(),
                      notes=(), banner="", revision=0, wrong=error.message)  # fmt: skip
    changed = {effect.what for row in found.request_classes for effect in row.effects}
    columns = tuple(name for name in COLUMNS if name in changed)
    banners = (effect.then for row in found.request_classes for effect in row.effects if effect.what == "banner")
    return Radius(
        numbers=_numbers(found),
        columns=columns,
        rows=tuple(_row(row, columns) for row in found.request_classes),
        untouched=found.untouched,
        flags=tuple(NowThen(flag.flag, flag.now, flag.then) for flag in found.flags[:20]),
        more_flags=max(0, found.flags_touched - 20),
        unknown=found.unknown,
        warnings=found.warnings,
        notes=reach_notes(found.reach),
        banner=next(banners, "") or await _banner(visit, environment, found.profile),
        revision=found.revision,
        wrong="",
    )  # fmt: skip


async def _banner(visit: Visit, environment: str, profile: str) -> str:
    """The profile's own, where none changes: no request class yet, or all of them show it already."""
    found = await visit.services.reads.find(visit.actor, environment, "safe_mode_profile", profile)
    if found is None:  # it is made by the activation
        return ""
    spec = find_spec(found.spec, SafeModeProfile)
    return spec.banner.text if spec and spec.banner else ""


def _row(row: TouchedClass, columns: tuple[str, ...]) -> RadiusRow:
    effects = {each.what: each for each in row.effects}
    values = tuple(
        NowThen(name, _short(name, effects[name].now), _short(name, effects[name].then))
        if name in effects
        else NowThen(name, "", "")
        for name in columns
    )
    share = "without a unit" if row.anonymous else "" if row.share == 1 else share_words(row.share)
    return RadiusRow(row.request_class, row.cohort, share, values)


def _short(name: str, said: str) -> str:
    """A cell's words: four tools are a number, and a provider's name says nothing new."""
    if name == "tools" and said.count(",") > 1 and " except " not in said:
        return plural(said.count(",") + 1, "tool")
    if name in {"ladder", "model"}:
        return " → ".join(part.rpartition("/")[2] for part in said.split(" → "))
    return said.replace("≤ ", f"≤{NBSP}")


def _numbers(found: BlastRadius) -> tuple[BigNumber, ...]:
    """Share of traffic and instances, when there are any, and request classes."""
    reach = found.reach
    numbers = []
    if reach.of_requests_per_min:
        share = percent(reach.requests_per_min / reach.of_requests_per_min)
        note = f"{count(reach.requests_per_min)} of {count(reach.of_requests_per_min)} req/min"
        numbers.append(BigNumber("Requests", share, note))
        if reach.to_people_per_min:
            numbers.append(BigNumber("To people", count(reach.to_people_per_min), "more req/min"))
        if reach.turned_away_per_min:
            numbers.append(BigNumber("Turned away", count(reach.turned_away_per_min), "more req/min"))
    if reach.of_instances:
        numbers.append(BigNumber("Instances", count(reach.instances), f"of {count(reach.of_instances)}"))
    touched = {row.request_class for row in found.request_classes}
    of = f"of {count(len(touched) + len(found.untouched))}"
    return (*numbers, BigNumber("Request classes", count(len(touched)), of))

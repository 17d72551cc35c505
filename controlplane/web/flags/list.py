"""The list of flags: searched and paged in the database."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from brownout.model.resources import FlagType
from controlplane.access.actor import Action
from controlplane.configuration.store.values import Resource
from controlplane.contract.specs import NEWER
from controlplane.telemetry.flag_use import FlagsServed
from controlplane.web.flags.state import CohortServe, LineRule, cohort_serves, evaluated_words, serve_words, stale_words
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import plural, words

PAGE = 50
MAX_COHORTS = 3


class FlagRow(msgspec.Struct, frozen=True):
    key: str
    href: str
    description: str
    owner: str
    tags: tuple[str, ...]
    type: str
    enabled: bool
    serves: str
    """What whoever no rule names gets, and how many rules say otherwise."""
    cohorts: tuple[CohortServe, ...]
    more_cohorts: int
    """So many further cohorts the rules name."""
    evaluated: str
    """When last; empty: never."""
    stale: str
    """Why the flag may have had its day; empty: it has not, or nobody can know."""
    revision: int
    changed_at: datetime
    changed_by: str


class FlagsPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "flags/flags.html"

    frame: Frame
    rows: tuple[FlagRow, ...]
    search: str
    type: str
    tag: str
    types: tuple[Option, ...]
    total: int
    next_href: str
    first_href: str
    new_href: str


class _FlagLine(msgspec.Struct):
    """What a row needs of a spec; the rest is not decoded."""

    type: str
    default: Any
    description: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    enabled: bool = True
    off_variant: str = ""
    rules: tuple[LineRule, ...] = ()
    variants: dict[str, msgspec.Raw] = {}


class FlagsController(Controller):
    path = "/e/{environment:str}/flags"
    include_in_schema = False

    @get(opt={"action": Action.READ})
    async def list_flags(
        self,
        visit: NamedDependency[Visit],
        environment: FromPath[str],
        *,
        q: FromQuery[str] = "",
        type: FromQuery[str] = "",  # noqa: A002 - the name in the address
        tag: FromQuery[str] = "",
        after: FromQuery[str] = "",
    ) -> Response[Any]:
        frame = await visit.frame(environment, "flags")
        page = await visit.services.reads.resources(
            visit.actor, environment, "flag", search=q, type=type, tags=(tag,) if tag else (), after=after, limit=PAGE
        )
        served = await visit.services.telemetry.flag_uses.served(
            visit.actor, environment, [item.key for item in page.items]
        )
        asked = {"q": q, "type": type, "tag": tag}
        counts = await visit.services.reads.counts(visit.actor, environment)
        return visit.page(
            FlagsPage(
                frame=frame,
                rows=tuple(_row(environment, item, served, visit.now) for item in page.items),
                search=q,
                type=type,
                tag=tag,
                types=(Option("", "all types"), *(Option(name, words(name)) for name in FlagType.__args__)),  # type: ignore[attr-defined]
                total=counts.get("flag", 0),
                next_href=url(environment, "flags", **asked, after=page.next) if page.next else "",
                first_href=url(environment, "flags", **asked) if after else "",
                new_href=url(environment, "flags", "new") if visit.may(Action.EDIT, environment) else "",
            )
        )


def _row(environment: str, item: Resource, served: FlagsServed, now: datetime) -> FlagRow:
    flag = _read(item.spec)
    cohorts = cohort_serves(flag.rules) if flag.enabled else ()
    return FlagRow(
        key=item.key,
        href=url(environment, "flags", item.key),
        description=flag.description,
        owner=flag.owner,
        tags=flag.tags,
        type=words(flag.type),
        enabled=flag.enabled,
        serves=_serves(flag),
        cohorts=cohorts[:MAX_COHORTS],
        more_cohorts=max(0, len(cohorts) - MAX_COHORTS),
        evaluated=evaluated_words(served.last_at(item.key), now),
        stale=stale_words(served.stale(item.key, len(flag.variants), item.changed_at, now)),
        revision=item.revision,
        changed_at=item.changed_at,
        changed_by=item.changed_by,
    )


def _read(spec: bytes) -> _FlagLine:
    try:
        return msgspec.json.decode(spec, type=_FlagLine)
    except msgspec.DecodeError:
        return _FlagLine(type="", default="", description=NEWER)


def _serves(flag: _FlagLine) -> str:
    if not flag.enabled:
        return f"off: {flag.off_variant}"
    served = serve_words(flag.default)
    unnamed = sum(not rule.cohorts for rule in flag.rules)
    return f"{served}, {plural(unnamed, 'other rule')}" if unnamed else served

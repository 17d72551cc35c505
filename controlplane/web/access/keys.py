"""SDK keys of an environment, one's own API tokens and sessions. A secret is shown once, by the page that made it."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from controlplane.access.actor import ANY_ENVIRONMENT, GRANTABLE, Action, allows
from controlplane.access.traffic import ALL_USES, KeyUse
from controlplane.access.values import TokenRow
from controlplane.errors import BrownoutError
from controlplane.web.access.frame import Shown, Tab, tabs
from controlplane.web.kit.agents import browser
from controlplane.web.kit.frame import Frame
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import Option
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import number

LASTS = (Option("30", "30 days"), Option("90", "90 days"), Option("365", "a year"))
USE_WORDS = {
    ALL_USES: "reads its configuration and reports telemetry",
    (KeyUse.EVALUATE,): "reads its configuration",
    (KeyUse.REPORT,): "reports telemetry",
}
USES = {",".join(uses): uses for uses in USE_WORDS}
USE_OPTIONS = tuple(Option(value, USE_WORDS[uses].capitalize()) for value, uses in USES.items())
PERSONAL = "Do not commit it: anyone who has it can do what you can. It is shown only once."


class SecretRow(msgspec.Struct, frozen=True):
    """A key, a token or a session in a list; never the secret itself."""

    id: str
    name: str
    hint: str
    note: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    ended: str
    href: str
    scope: str = ""


class SecretsPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "access/secrets.html"

    frame: Frame
    tabs: tuple[Tab, ...]
    what: str
    title: str
    text: str
    rows: tuple[SecretRow, ...]
    lasts: tuple[Option, ...]
    uses: tuple[Option, ...]
    may_make: bool
    rotates: bool
    endless: int
    """How many of these tokens never end."""
    shown: Shown | None
    error: str
    make_url: str


class KeysController(Controller):
    path = "/e/{environment:str}/access"
    include_in_schema = False

    @get("/keys", opt={"action": Action.MANAGE_KEYS})
    async def list_keys(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        return await _keys(visit, environment)

    @post("/keys", opt={"action": Action.MANAGE_KEYS}, status_code=200)
    async def make_key(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        form = dict(await visit.form())
        try:
            made = await visit.services.access.keys.create(
                visit.actor, environment, form.get("name", ""), uses=USES.get(form.get("uses", ""), ALL_USES)
            )
        except BrownoutError as error:
            return await _keys(visit, environment, error=await visit.refusal(error))
        advice = f"For services of {environment}: {USE_WORDS[made.uses]}, nothing else. It is shown only now."
        return await _keys(visit, environment, shown=Shown(f"SDK key {made.name}", made.key, advice))

    @post("/keys/{key:str}", opt={"action": Action.MANAGE_KEYS}, status_code=200)
    async def change_key(
        self, visit: NamedDependency[Visit], environment: FromPath[str], key: FromPath[str]
    ) -> Response[Any]:
        """`do` is rotate (the old one goes on for a day) or revoke."""
        form = dict(await visit.form())
        keys = visit.services.access.keys
        try:
            if form.get("do") == "rotate":
                made = await keys.rotate(visit.actor, environment, key)
                advice = "The old one goes on working for 24 hours. It is shown only now."
                return await _keys(visit, environment, shown=Shown(f"SDK key {made.name}", made.key, advice))
            await keys.revoke(visit.actor, environment, key, "revoked in the console")
        except BrownoutError as error:
            return await _keys(visit, environment, error=await visit.refusal(error))
        return Redirect(url(environment, "access", "keys"), status_code=303)

    @get("/tokens", opt={"action": Action.READ})
    async def list_tokens(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        return await _tokens(visit, environment)

    @post("/tokens", opt={"action": Action.READ}, status_code=200)
    async def make_token(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        form = dict(await visit.form())
        days = number(form.get("lasts", ""), 90)
        try:
            made = await visit.services.access.tokens.create_personal(
                visit.actor, form.get("name", ""), lasts=timedelta(days=days), sensitive=form.get("sensitive") == "yes"
            )
        except BrownoutError as error:
            return await _tokens(visit, environment, error=await visit.refusal(error))
        return await _tokens(visit, environment, shown=Shown(f"API token {made.name}", made.token, PERSONAL))

    @post("/tokens/{token:str}", opt={"action": Action.READ}, status_code=200)
    async def revoke_token(
        self, visit: NamedDependency[Visit], environment: FromPath[str], token: FromPath[str]
    ) -> Response[Any]:
        try:
            await visit.services.access.tokens.revoke(visit.actor, token, "revoked in the console")
        except BrownoutError as error:
            return await _tokens(visit, environment, error=await visit.refusal(error))
        return Redirect(url(environment, "access", "tokens"), status_code=303)

    @get("/sessions", opt={"action": Action.READ})
    async def list_sessions(self, visit: NamedDependency[Visit], environment: FromPath[str]) -> Response[Any]:
        found = await visit.services.access.sessions.list_sessions(visit.actor)
        rows = tuple(
            SecretRow(
                each.id, browser(each.agent) + ", this one" * each.current, each.address, each.method,
                each.created_at, each.expires_at, each.seen_at, "", url(environment, "access", "sessions", each.id),
            )
            for each in found
        )  # fmt: skip
        return await _page(visit, environment, "sessions", rows)

    @post("/sessions/{session:str}", opt={"action": Action.READ}, status_code=200)
    async def end_session(
        self, visit: NamedDependency[Visit], environment: FromPath[str], session: FromPath[str]
    ) -> Redirect:
        await visit.services.access.sessions.end(visit.actor, session)
        return Redirect(url(environment, "access", "sessions"), status_code=303)


TEXTS = {
    "keys": (
        "SDK keys",
        "What services connect with. A key opens one environment, to read its configuration, to report, or both.",
    ),
    "tokens": ("API tokens", "For the CLI, scripts and machines. A token never does more than who made it may now."),
    "sessions": ("Your sessions", "Browsers that are signed in as you."),
}


async def _keys(visit: Visit, environment: str, *, shown: Shown | None = None, error: str = "") -> Response[Any]:
    found = await visit.services.access.keys.list_keys(visit.actor, environment)
    rows = tuple(
        SecretRow(each.id, each.name, each.hint, f"by {each.made_by}, {USE_WORDS[each.uses]}", each.created_at, each.expires_at, each.used_at,
                  "revoked" if each.revoked_at else "", url(environment, "access", "keys", each.id))
        for each in found
    )  # fmt: skip
    return await _page(visit, environment, "keys", rows, shown=shown, error=error)


async def _tokens(visit: Visit, environment: str, *, shown: Shown | None = None, error: str = "") -> Response[Any]:
    """One's own, and those within what one administers."""
    tokens, actor = visit.services.access.tokens, visit.actor
    found = {each.id: each for each in await tokens.list_tokens(actor)}
    if any(allows(actor.grants, Action.MANAGE_KEYS, where) for where in actor.grants):
        found |= {each.id: each for each in await tokens.list_tokens(actor, everybody=True)}
    rows = tuple(
        SecretRow(each.id, each.name, each.hint, _by(each), each.created_at, each.expires_at, each.used_at,
                  "revoked" if each.revoked_at else "", url(environment, "access", "tokens", each.id), _scope(each))
        for each in found.values()
    )  # fmt: skip
    endless = sum(each.expires_at is None and each.revoked_at is None for each in found.values())
    return await _page(visit, environment, "tokens", rows, shown=shown, error=error, endless=endless)


def _by(token: TokenRow) -> str:
    kind = "personal" if token.owner else "machine"
    return f"{kind}, by {token.made_by}" + (f", handed over by {token.handed_by}" if token.handed_by else "")


def _scope(token: TokenRow) -> str:
    if len(token.grants.get(ANY_ENVIRONMENT, ())) == len(GRANTABLE):
        return "all that its owner may"
    return ", ".join(f"{', '.join(roles)} in {where}" for where, roles in token.grants.items())


async def _page(
    visit: Visit,
    environment: str,
    what: str,
    rows: tuple[SecretRow, ...],
    *,
    shown: Shown | None = None,
    error: str = "",
    endless: int = 0,
) -> Response[Any]:
    title, text = TEXTS[what]
    page = SecretsPage(
        frame=await visit.frame(environment, "access"),
        tabs=tabs(visit, environment, what),
        what=what,
        title=title,
        text=text,
        rows=rows,
        lasts=LASTS,
        uses=USE_OPTIONS,
        may_make=what == "keys" or (what == "tokens" and visit.actor.kind == "person"),
        rotates=what == "keys",
        endless=endless,
        shown=shown,
        error=error,
        make_url=url(environment, "access", what),
    )
    return visit.page(page, 422 if error else 200)

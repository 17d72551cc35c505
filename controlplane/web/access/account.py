"""One's own account: second factors, recovery codes, password. Plain, since it opens before any environment does."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency

from controlplane.access.factors import FactorsInfo, RecoveryCodes, TotpKey
from controlplane.errors import BrownoutError
from controlplane.http.step_up import ceremony_of
from controlplane.web.kit.render import View
from controlplane.web.kit.visit import Visit

OWN = {"signed_in": True, "unfinished": ("enrol",)}


class AccountPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "access/account.html"

    email: str
    csrf: str
    factors: FactorsInfo
    has_password: bool
    needed: bool
    """Until there is a second factor, nothing else opens."""
    key: TotpKey | None
    """Of the app that waits for its first code."""
    codes: tuple[str, ...]
    error: str
    now: datetime


class ProvenPage(View, frozen=True, kw_only=True):
    template: ClassVar[str] = "access/proven.html"


class AccountController(Controller):
    path = "/account"
    include_in_schema = False

    @get(opt=OWN)
    async def show(self, visit: NamedDependency[Visit]) -> Response[Any]:
        return await _page(visit)

    @get("/proven", opt={"signed_in": True})
    async def proven(self, visit: NamedDependency[Visit]) -> Response[Any]:
        """Where the identity provider leads back to, in a tab of its own."""
        return visit.page(ProvenPage())

    @post(opt=OWN, status_code=200)
    async def change(self, visit: NamedDependency[Visit]) -> Response[Any]:
        """`do` is begin-app, confirm-app, remove-app, add-passkey, remove-passkey, recovery-codes or password."""
        form = dict(await visit.form())
        factors, actor = visit.services.access.factors, visit.actor
        made, key = RecoveryCodes([]), None
        try:
            match form.get("do"):
                case "begin-app":
                    key = await factors.begin_app(actor)
                case "confirm-app":
                    key = await factors.begun_app(actor)
                    made = await factors.confirm_app(actor, form.get("code", ""))
                    key = None
                case "remove-app":
                    await factors.remove_app(actor)
                case "add-passkey":
                    ceremony = ceremony_of(visit.request, visit.services)
                    made = await factors.add_passkey(actor, ceremony, _json(form), form.get("name", ""))
                case "remove-passkey":
                    await factors.remove_passkey(actor, form.get("passkey", ""))
                case "recovery-codes":
                    made = await factors.new_recovery_codes(actor)
                case "password":
                    old, new = form.get("old", ""), form.get("new", "")
                    keep = form.get("keep_tokens") == "true"
                    await visit.services.access.sign_in.change_password(actor, old, new, keep_tokens=keep)
        except BrownoutError as error:
            return await _page(visit, key=key, error=await visit.refusal(error))
        return await _page(visit, key=key, codes=tuple(made.codes), needed=False if made.codes else None)


def _json(form: dict[str, str]) -> dict[str, Any]:
    try:
        return msgspec.json.decode(form.get("passkey", ""), type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


async def _page(
    visit: Visit,
    *,
    key: TotpKey | None = None,
    codes: tuple[str, ...] = (),
    error: str = "",
    needed: bool | None = None,
) -> Response[Any]:
    access, actor = visit.services.access, visit.actor
    page = AccountPage(
        email=actor.name,
        csrf=access.csrf.token(actor.credential),
        factors=await access.factors.info(actor),
        has_password=await access.sign_in.has_password(actor),
        needed=actor.stage == "enrol" if needed is None else needed,
        key=key,
        codes=codes,
        error=error,
        now=visit.now,
    )
    return visit.page(page, 422 if error else 200)

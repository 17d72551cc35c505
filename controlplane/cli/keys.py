"""`brownout key` (SDK keys, signing keys) and `brownout token` (API tokens)."""

from typing import Annotated

from controlplane.access.actor import GRANTABLE, Action
from controlplane.access.traffic import KeyUse
from controlplane.cli.command import Argument, Listing, Option
from controlplane.cli.shown import table, when
from controlplane.cli.terminal import TICK, styled
from controlplane.cli.verb import Call, verb

key_app = Listing("key", "SDK keys, and the keys that sign what SDKs hear.")
token_app = Listing("token", "API tokens, personal and for services.")
GROUPS = (key_app, token_app)

ReasonOption = Annotated[str, Option(help="Goes into the audit log.")]


@verb(key_app, "list", action=Action.MANAGE_KEYS)
def list_keys(call: Call) -> None:
    """The environment's SDK keys, without their secrets."""
    from controlplane.contract.access import KeyList

    found = call.session.get(call.session.path("sdk-keys"), KeyList)
    rows = [
        (k.id, k.name, k.hint, when(k.created_at), when(k.expires_at) if k.expires_at else "",
         when(k.used_at) if k.used_at else "never", ", ".join(k.uses), "revoked" if k.revoked_at else "")
        for k in found.items
    ]  # fmt: skip
    call.answer(found, lambda: table(("id", "name", "begins", "created", "expires", "last used", "for", ""), rows))


@verb(key_app, "create", action=Action.MANAGE_KEYS)
def create_key(
    call: Call,
    name: Annotated[str, Argument(help="A name for its user.")],
    uses: Annotated[
        list[KeyUse] | None,
        Option(
            help="evaluate (follow the configuration) or report (presence and telemetry); repeatable. Without it, both."
        ),
    ] = None,
) -> None:
    """Create an SDK key. It is shown once."""
    from controlplane.contract.access import KeyOutput

    body = {"name": name, **({"uses": uses} if uses else {})}
    made = call.session.send("POST", call.session.path("sdk-keys"), body, KeyOutput)
    call.answer(made, lambda: once(made.key, made.id))


@verb(key_app, "rotate", action=Action.MANAGE_KEYS)
def rotate_key(
    call: Call,
    key: Annotated[str, Argument(help="The id of the old one.")],
    overlap_hours: Annotated[float, Option(min=0, help="How long the old one still works.")] = 24,
) -> None:
    """Replace an SDK key. The new one is shown once."""
    from controlplane.contract.access import KeyOutput

    body = {"overlap_s": int(overlap_hours * 3600)}
    made = call.session.send("POST", call.session.path("sdk-keys", key, "rotate"), body, KeyOutput)
    call.answer(made, lambda: once(made.key, made.id))


@verb(key_app, "revoke", action=Action.MANAGE_KEYS)
def revoke_key(call: Call, key: Annotated[str, Argument(help="Its id.")], reason: ReasonOption = "") -> None:
    """Revoke an SDK key. Connections with it end within a second."""
    call.session.request("DELETE", call.session.path("sdk-keys", key), params={"reason": reason})
    call.answer({"revoked": key}, lambda: f"{TICK} {key} opens nothing any more")


@verb(key_app, "rotate-signing", action=Action.MANAGE_KEYS)
def rotate_signing(
    call: Call,
    overlap_s: Annotated[int, Option(min=60, help="Seconds between announcing it and signing with it.")] = 300,
) -> None:
    """Announce the environment's next signing key; it signs once every SDK has had time to learn it."""
    from controlplane.access.signing import Rotation

    done = call.session.send("POST", call.session.path("signing-key", "rotate"), {"overlap_s": overlap_s}, Rotation)
    call.answer(done, lambda: f"{TICK} {done.next_kid} signs from {when(done.switch_at)}")


@verb(token_app, "list", action=Action.READ)
def list_tokens(
    call: Call, *, everybody: Annotated[bool, Option("--all", help="All tokens that you administer.")] = False
) -> None:
    """List your tokens and your service tokens."""
    from controlplane.contract.access import TokenList

    found = call.session.get("/tokens", TokenList, everybody="true" if everybody else None)
    rows = [
        (t.id, t.name, t.hint, "personal" if t.owner else "machine", t.made_by, _scope(t.grants),
         when(t.used_at) if t.used_at else "never",
         "revoked" if t.revoked_at else when(t.expires_at) if t.expires_at else styled("yellow", "never"))
        for t in found.items
    ]  # fmt: skip
    call.answer(found, lambda: table(("id", "name", "begins", "kind", "made by", "scope", "last used", "ends"), rows))


@verb(token_app, "create", action=Action.MANAGE_KEYS)
def create_token(
    call: Call,
    name: Annotated[str, Argument(help="Which machine will use it.")],
    role: Annotated[list[str], Option(help="role or role@environment, repeatable.")],
    *,
    days: Annotated[int, Option(min=1, max=3650, help="Until it expires.")] = 90,
    sensitive: Annotated[
        bool, Option("--sensitive", help="Allow it to change keys, tokens, people and environments.")
    ] = False,
    network: Annotated[list[str] | None, Option("--from", help="A network that it works from; repeatable.")] = None,
) -> None:
    """Create a service token. It is shown once."""
    from controlplane.contract.access import TokenOutput

    grants: dict[str, list[str]] = {}
    for each in role:
        what, _, where = each.partition("@")
        grants.setdefault(where or "*", []).append(what)
    body = {"name": name, "grants": grants, "lasts_s": days * 86_400, "sensitive": sensitive, "networks": network or []}
    made = call.session.send("POST", "/tokens/service", body, TokenOutput)
    call.answer(made, lambda: once(made.token, made.id))


@verb(token_app, "revoke", action=Action.READ)
def revoke_token(call: Call, token_id: Annotated[str, Argument(help="Its id.")], reason: ReasonOption = "") -> None:
    """Revoke one of your tokens, or one that you administer, and the tokens that were made with it."""
    call.session.request("DELETE", f"/tokens/{token_id}", params={"reason": reason})
    call.answer({"revoked": token_id}, lambda: f"{TICK} {token_id} opens nothing any more")


def once(secret: str, id_: str) -> str:
    return f"{secret}\n" + styled("dim", f"shown once; id {id_}")


def _scope(grants: dict[str, list[str]]) -> str:
    if len(grants.get("*", ())) == len(GRANTABLE):
        return "all that its owner may"
    return ", ".join(f"{role}@{environment}" for environment, roles in grants.items() for role in roles)

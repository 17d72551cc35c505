"""`brownout flag`, `cohort`, `request-class`, `profile`, `template`: the same verbs for each kind that has a noun."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from controlplane.access.actor import Action
from controlplane.cli.command import Argument, Listing, Noun, Option
from controlplane.cli.session import CliError
from controlplane.cli.shown import commit_text, json_text, table, when
from controlplane.cli.specs import MessageOption, RevisionOption, condition, read_spec
from controlplane.cli.terminal import Shown, styled
from controlplane.cli.verb import Call, verb
from controlplane.contract.dto import CommitOutput, ResourceOutput, ResourcePage
from controlplane.contract.kinds import KINDS, KindRow
from controlplane.contract.problems import USAGE

KeyArgument = Annotated[str, Argument(help="Its key.")]
FileArgument = Annotated[str, Argument(help="A JSON or YAML file; - reads standard input.")]


def group(kind: str, row: KindRow) -> Noun:
    app = Listing(row.noun, row.about)
    segment = row.path

    @verb(app, "list", action=Action.READ)
    def list_resources(
        call: Call,
        search: Annotated[str, Option(help="Words of the key, description, owner or tags.")] = "",
        limit: Annotated[int, Option(min=1, max=500)] = 100,
        after: Annotated[str, Option(help="The last key of the previous page.")] = "",
    ) -> None:
        """List them in order of keys."""
        path = call.session.path(segment)
        page = call.session.get(path, ResourcePage, search=search, limit=limit, after=after)
        call.answer(page, lambda: _listing(page.items))

    @verb(app, "get", action=Action.READ)
    def get(call: Call, key: KeyArgument) -> None:
        """Print one."""
        found = call.session.get(call.session.path(segment, key), ResourceOutput)
        call.answer(found, lambda: json_text(found.spec))

    @verb(app, "put", action=Action.EDIT)
    def put(
        call: Call,
        key: KeyArgument,
        file: FileArgument,
        *,
        message: MessageOption = "",
        if_revision: RevisionOption = None,
        create: Annotated[bool, Option("--create", help="Refuse if there is one already.")] = False,
    ) -> None:
        """Create or replace one from a file. What `get --json` printed carries its revision: edit it and put it back,
        and it is refused if someone changed the resource since."""
        if create and if_revision is not None:
            raise CliError("--create and --if-revision exclude each other", USAGE)
        spec, read_at = taken_apart(read_spec(file))
        if read_at is not None and not create and if_revision is None:
            if_revision = unchanged_since(call, segment, key, read_at)
        commit = send_spec(call, segment, key, spec, message=message, if_revision=if_revision, create=create)
        call.answer(commit, lambda: commit_text(commit))

    @verb(app, "delete", action=Action.EDIT)
    def delete(call: Call, key: KeyArgument, message: MessageOption = "", if_revision: RevisionOption = None) -> None:
        """Delete one. It fails while another resource names it."""
        response = call.session.request(
            "DELETE", call.session.path(segment, key), params=_said(message), headers=condition(if_revision)
        )
        commit = msgspec.json.decode(response.content, type=CommitOutput)
        call.answer(commit, lambda: commit_text(commit))

    if kind == "flag":
        _switches(app)
    return app


def _switches(app: Noun) -> None:
    def set_enabled(call: Call, key: str, message: str, *, enabled: bool) -> None:
        path = call.session.path(KINDS["flag"].path, key)
        response = call.session.request("GET", path)
        found = msgspec.json.decode(response.content, type=ResourceOutput)
        spec = {**msgspec.json.decode(found.spec, type=dict[str, object]), "enabled": enabled}
        said = message or f"{'Enable' if enabled else 'Disable'} flag {key}"
        at = int(response.headers["ETag"].strip('"'))
        commit = send_spec(call, KINDS["flag"].path, key, msgspec.json.encode(spec), message=said, if_revision=at)
        call.answer(commit, lambda: commit_text(commit))

    @verb(app, "enable", action=Action.EDIT)
    def enable(call: Call, key: KeyArgument, message: MessageOption = "") -> None:
        """Enable it: its rules decide."""
        set_enabled(call, key, message, enabled=True)

    @verb(app, "disable", action=Action.EDIT)
    def disable(call: Call, key: KeyArgument, message: MessageOption = "") -> None:
        """Disable it: everyone gets the off variant."""
        set_enabled(call, key, message, enabled=False)


def send_spec(
    call: Call, segment: str, key: str, spec: bytes, *, message: str, if_revision: int | None, create: bool = False
) -> CommitOutput:
    headers = {"If-None-Match": "*"} if create else condition(if_revision)
    response = call.session.request(
        "PUT",
        call.session.path(segment, key),
        content=spec,
        params=_said(message),
        headers={"Content-Type": "application/json", **headers},
    )
    return msgspec.json.decode(response.content, type=CommitOutput)


def taken_apart(sent: bytes) -> tuple[bytes, int | None]:
    """The spec, and the revision of what `get --json` printed; None for a bare spec."""
    try:
        found = msgspec.json.decode(sent, type=ResourceOutput)
    except msgspec.MsgspecError:
        return sent, None
    return bytes(found.spec), found.revision


def unchanged_since(call: Call, segment: str, key: str, revision: int) -> int:
    """The environment's revision, in which the resource is still as it was at `revision`."""
    response = call.session.request("GET", call.session.path(segment, key))
    present = msgspec.json.decode(response.content, type=ResourceOutput)
    if present.revision != revision:
        raise CliError(
            f"{key} was changed in revision {present.revision} by {present.changed_by}, after revision {revision} that "
            "the file was made from. Nothing was saved; get it again"
        )
    return int(response.headers["ETag"].strip('"'))


def _listing(items: Sequence[ResourceOutput]) -> Shown:
    rows = [(r.key, _field(r, "type"), _field(r, "description"), f"r{r.revision}", r.changed_by, when(r.changed_at))
            for r in items]  # fmt: skip
    return table(("key", "type", "description", "revision", "by", "at"), rows) if rows else styled("dim", "none")


def _field(found: ResourceOutput, name: str) -> str:
    return str(msgspec.json.decode(found.spec, type=dict[str, object]).get(name, ""))


def _said(message: str) -> dict[str, str]:
    return {"message": message} if message else {}


GROUPS = tuple(group(kind, row) for kind, row in KINDS.items() if row.noun)

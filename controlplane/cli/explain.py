"""`brownout explain` and `brownout policy`: what would this context get, and why?"""

import json
from datetime import datetime
from typing import Annotated

import click
import msgspec

from controlplane.access.actor import Action
from controlplane.cli.command import Argument, Noun, Option
from controlplane.cli.session import CliError
from controlplane.cli.shown import json_text
from controlplane.cli.verb import Call, verb
from controlplane.contract.evaluate import ExplanationOutput
from controlplane.contract.problems import USAGE

ContextArgument = Annotated[
    list[str] | None, Argument(help="name=value …, e.g. targeting_key=u-42 plan=pro age=7; or one JSON object.")
]
RevisionOption = Annotated[int | None, Option(help="Decide as at an earlier revision.")]
ServiceOption = Annotated[str, Option(help="Decide as for this service.")]
AtOption = Annotated[datetime | None, Option(help="Judge activations at this instant.")]


def register(app: Noun) -> None:
    verb(app, "explain", action=Action.EVALUATE)(explain)
    verb(app, "policy", action=Action.EVALUATE)(policy)


def explain(
    call: Call,
    flag: Annotated[str, Argument(help="The flag's key.")],
    context: ContextArgument = None,
    *,
    revision: RevisionOption = None,
    service: ServiceOption = "",
    at: AtOption = None,
) -> None:
    """Evaluate a flag and say which rule decided."""
    body = {"flag": flag, **_situation(context, revision, service, at)}
    found = call.session.send("POST", call.session.path("explain"), body, ExplanationOutput)
    call.answer(found, lambda: click.echo(found.text))


def policy(
    call: Call,
    request_class: Annotated[str, Argument(help="The request class's key.")],
    context: ContextArgument = None,
    *,
    revision: RevisionOption = None,
    service: ServiceOption = "",
    at: AtOption = None,
) -> None:
    """The whole policy of a request class for a context."""
    body = {"request_class": request_class, **_situation(context, revision, service, at)}
    found = call.session.send("POST", call.session.path("policy"), body, msgspec.Raw)
    call.answer(found, lambda: json_text(bytes(found)))


def parse_context(parts: list[str]) -> dict[str, object]:
    """`a.b=1 plan=pro`, or one JSON object. Values that read as JSON are that, others are text.

    Raises:
        CliError: a part is neither.
    """
    if len(parts) == 1 and parts[0].lstrip().startswith("{"):
        return dict(_json(parts[0]))
    made: dict[str, object] = {}
    for part in parts:
        name, equals, text = part.partition("=")
        if not equals or not name:
            raise CliError(f"{part!r} is not name=value", USAGE)
        try:
            made[name] = json.loads(text)
        except ValueError:
            made[name] = text
    return made


def _json(text: str) -> dict[str, object]:
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except msgspec.DecodeError as error:
        raise CliError(f"the context is not a JSON object: {error}", USAGE) from None


def _situation(context: list[str] | None, revision: int | None, service: str, at: datetime | None) -> dict[str, object]:
    return {
        "context": parse_context(context or []),
        "revision": revision,
        "service": service,
        "at": at.astimezone() if at else None,
    }

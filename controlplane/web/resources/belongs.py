"""Does this context belong to the cohort? Asked on the cohort's page, answered by the SDK's own membership test."""

from typing import Any

import msgspec

from brownout.evaluation.trace import CohortTrace
from controlplane.access.actor import Action
from controlplane.errors import InvalidInputError
from controlplane.web.flags.rules import sentence
from controlplane.web.kit.framing import url
from controlplane.web.kit.parts import ClauseLine
from controlplane.web.kit.visit import Visit

BECAUSE = {
    "excluded": "its {by} is excluded by name",
    "included": "its {by} is included by name",
    "described": "description {number} holds",
    "not_described": "nothing names it and no description holds",
    "unit_missing": "the cohort names units by {by}, and the context has none",
    "attribute_missing": "an attribute that decides it is missing, or of another type",
}
ANSWERS = {True: "Yes, it belongs", False: "No, it does not belong", None: "It cannot be decided"}


class Alternative(msgspec.Struct, frozen=True):
    number: int
    held: bool
    clauses: tuple[ClauseLine, ...]


class Belongs(msgspec.Struct, frozen=True):
    """The question as it was asked, and its answer; without an answer either nobody asked or `error` says why."""

    here: str
    context: str
    error: str
    answer: str
    because: str
    alternatives: tuple[Alternative, ...]


async def belongs(visit: Visit, environment: str, cohort: str, asked: str) -> Belongs | None:
    """None for whoever may not evaluate."""
    if not visit.may(Action.EVALUATE, environment):
        return None
    here = url(environment, "cohorts", cohort)
    if not asked.strip():
        return Belongs(here, '{"targeting_key": "u-42"}', "", "", "", ())
    try:
        context = msgspec.json.decode(asked, type=dict[str, Any])
        found = await visit.services.evaluations.belongs(visit.actor, environment, cohort, context)
    except (msgspec.DecodeError, ValueError, InvalidInputError) as refused:
        return Belongs(here, asked, f"the context: {refused}", "", "", ())
    number = 0 if found.matched is None else found.matched + 1
    because = BECAUSE[found.because].format(by=found.by, number=number)
    return Belongs(here, asked, "", ANSWERS[found.belongs], because, _alternatives(found))


def _alternatives(found: CohortTrace) -> tuple[Alternative, ...]:
    return tuple(
        Alternative(
            number,
            all(tested.result == "held" for tested in clauses),
            tuple(ClauseLine.of(sentence(msgspec.to_builtins(tested.clause)), tested.result) for tested in clauses),
        )
        for number, clauses in enumerate(found.alternatives, 1)
    )

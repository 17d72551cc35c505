"""Rules that can never serve, because an earlier rule catches everyone whom they would. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from brownout.model.resources import Clause, Rule

MAX_RULES = 500
"""Each rule is compared with those before it, while the environment is locked: more are not compared."""

ANY_OF = frozenset({"in", "starts_with", "ends_with", "contains", "in_cohort"})
"""Operators that hold when one of the values fits."""


def unreachable(rules: Sequence[Rule]) -> Mapping[str, str]:
    """Ids of a flag's unreachable rules, each with the id of the first rule that stands in its way."""
    rules = rules[:MAX_RULES]
    return {
        rule.id: first.id for index, rule in enumerate(rules) if (first := in_the_way(rules[:index], rule)) is not None
    }


def in_the_way(earlier: Iterable[Rule], rule: Rule) -> Rule | None:
    """The first of `earlier` that catches everyone whom `rule` asks for."""
    return next((each for each in earlier if _covers(each, rule)), None)


def _covers(earlier: Rule, later: Rule) -> bool:
    """Whether every context that `later` matches is caught by `earlier`."""
    return all(any(_implies(clause, wanted) for clause in later.when) for wanted in earlier.when)


def _implies(clause: Clause, wanted: Clause) -> bool:
    if clause == wanted:
        return True
    same = (clause.op, clause.attribute, clause.negate) == (wanted.op, wanted.attribute, wanted.negate)
    if not same or clause.op not in ANY_OF:
        return False
    mine, theirs = ({(type(value), value) for value in one.values} for one in (clause, wanted))
    return mine >= theirs if clause.negate else mine <= theirs

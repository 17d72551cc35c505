"""Writes the Python of one flag or cohort: nested ifs over local variables, the leanest that CPython runs.

No operand ever becomes source text: operands are constants k0, k1, …, so flags of one shape share one code
object (the source is the cache key) and no attribute or value can inject anything. Why code and not closures:
docs/adr/0010.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import mmh3

from brownout import attributes, operators
from brownout.attributes import MAX_TEXT, kinds_of
from brownout.bucketing import first_hash_at
from brownout.model import Clause, Share

Membership = Callable[[attributes.Context], bool | None]
"""Whether a context is in a cohort; None when that cannot be known."""

_GLOBALS = {
    "contains": attributes.contains,
    "dotted": attributes.dotted,
    "hash32": mmh3.mmh3_32_uintdigest,
    "member": attributes.member,
    "moment": attributes.moment,
    "number": attributes.number,
    "release": attributes.release,
    "text": attributes.text,
    "unit": attributes.unit,
}
_FITS = {
    "text": "type({0}) is not str or len({0}) > " + str(MAX_TEXT),
    "unit": "type({0}) is not str or not 0 < len({0}) <= " + str(MAX_TEXT),
    "number": "type({0}) is not int and (type({0}) is not float or {0} - {0} != 0.0)",
    "moment": "True",
    "release": "True",
}
"""When a value must go through its reader: the common case stays inline."""

_COMPARE = {
    "lt": "<",
    "lte": "<=",
    "gt": ">",
    "gte": ">=",
    "before": "<",
    "after": ">",
    "semver_lt": "<",
    "semver_lte": "<=",
    "semver_gt": ">",
    "semver_gte": ">=",
}


@lru_cache(maxsize=2_048)
def _factory(source: str) -> Callable[..., Any]:
    scope: dict[str, Any] = dict(_GLOBALS)
    exec(compile(source, "<brownout flag>", "exec"), scope)  # noqa: S102 - source made here, of no foreign text
    factory: Callable[..., Any] = scope["make"]
    return factory


class Program:
    """The body of `def run(context)` while it is written."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._constants: list[object] = []
        self._depth = 3
        self._loaded: dict[tuple[str, str], str] = {}
        self._names = 0
        self._gets = False

    def build(self, recover: Callable[..., object] | None = None) -> Callable[[attributes.Context], Any]:
        """The function. With `recover`, whatever the context raises ends in `recover(run, context)`."""
        rescue = self.constant(recover) if recover else ""
        head = f"def make({', '.join(f'k{n}' for n in range(len(self._constants)))}):\n    def run(context):\n"
        body = "\n".join(self._lines)
        if self._gets:
            body = "            get = context.get\n" + body
        guarded = f"        try:\n{body}\n        except Exception:\n            return {rescue}(run, context)\n"
        plain = f"        if True:\n{body}\n"
        source = head + (guarded if recover else plain) + "    return run\n"
        built: Callable[[attributes.Context], Any] = _factory(source)(*self._constants)
        return built

    def constant(self, value: object) -> str:
        for index, known in enumerate(self._constants):
            if known is value:
                return f"k{index}"
        self._constants.append(value)
        return f"k{len(self._constants) - 1}"

    def line(self, text: str) -> None:
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        """What is written inside runs only when `condition` holds; what is loaded inside is forgotten after."""
        self.line(f"if {condition}:")
        self._depth += 1
        before = dict(self._loaded)
        yield
        self._loaded = before
        self._depth -= 1

    @contextmanager
    def when_all(self, clauses: Sequence[Clause], cohorts: "Cohorts") -> Iterator[None]:
        """The same for clauses, each tested only if those before it hold."""
        before, depth = dict(self._loaded), self._depth
        for index, clause in enumerate(clauses):
            condition = self.condition(clause, cohorts)
            if index == 0:
                before = dict(self._loaded)  # the first clause is always tested: its attribute stays known
            self.line(f"if {condition}:")
            self._depth += 1
        yield
        self._loaded, self._depth = before, depth

    def condition(self, clause: Clause, cohorts: "Cohorts") -> str:
        """An expression that is true when `clause` holds, after the lines that load what it needs."""
        op, negate = clause.op, "not " if clause.negate else ""
        if op == "in_cohort":
            return self._in_cohort(clause, cohorts)
        if op == "exists":
            return f"{self._get(clause.attribute)} is {'' if clause.negate else 'not '}None"
        kinds = kinds_of(clause.values)
        if op == "contains" or (op == "in" and not _of_one_kind(kinds)):
            asked = "contains" if op == "contains" else "member"
            return f"{asked}({self._get(clause.attribute)}, {self.constant(kinds)}) is {not clause.negate}"
        if op == "in":
            reader, operand = ("text", kinds[0]) if kinds[0] else ("number", kinds[1])
            test = f"{{}} {negate}in {self.constant(operand)}"
        elif op in {"starts_with", "ends_with"}:
            reader = "text"
            test = f"{negate}{{}}.{op.replace('_', '')}({self.constant(clause.values)})"
        elif op in operators.NUMERIC:
            reader = "number"
            test = f"{negate}{{}} {_COMPARE[op]} {self.constant(clause.values[0])}"
        elif op in operators.TEMPORAL:
            reader = "moment"
            test = f"{negate}{{}} {_COMPARE[op]} {self.constant(operators.instant(str(clause.values[0])))}"
        else:
            reader, versions = "release", [operators.version(str(value)) for value in clause.values]
            asked = f"in {self.constant(frozenset(versions))}" if op == "semver_eq" else ""
            test = f"{negate}{{}} {asked or f'{_COMPARE[op]} {self.constant(versions[0])}'}"
        name = self.load(reader, clause.attribute)
        if op == "in" and not clause.negate:
            return test.format(name)  # None is in no set of operands
        return f"{name} is not None and {test.format(name)}"

    def load(self, reader: str, attribute: str) -> str:
        """The local variable that holds `attribute` as `reader` reads it (None: unknown)."""
        known = self._loaded.get((reader, attribute))
        if known:
            return known
        name = self._loaded[reader, attribute] = f"{reader}{self._names}"
        self._names += 1
        self.line(f"{name} = {self._get(attribute)}")
        fits = _FITS[reader].format(name)
        reading = f"{name} = {reader}({name})"
        self.line(reading if fits == "True" else f"if {fits}: {reading}")
        return name

    def split(self, shares: Sequence[Share], by: str, seed: str, outcome: Callable[[str, bool], object]) -> None:
        """Returns the outcome whose share the unit's hash falls into (see brownout.bucketing)."""
        name = self.load("unit", by)
        with self.when(f"{name} is None"):
            self.line(f"return {self.constant(outcome(shares[0].variant, True))}")
        self.line(f"hashed = hash32(({self.constant(seed + ':')} + {name}).encode(), 0)")
        edge = 0
        for share in shares:
            edge += share.weight_bp
            answer = self.constant(outcome(share.variant, False))
            if edge == 10_000:
                self.line(f"return {answer}")
                break
            if share.weight_bp:
                self.line(f"if hashed < {self.constant(first_hash_at(edge))}: return {answer}")

    def _get(self, attribute: str) -> str:
        if "." in attribute:
            steps = self.constant(tuple(attribute.split(".")))
            return f"dotted(context, {self.constant(attribute)}, {steps})"
        self._gets = True
        return f"get({self.constant(attribute)})"

    def _in_cohort(self, clause: Clause, cohorts: "Cohorts") -> str:
        found = [cohorts(str(key)) for key in clause.values]
        if len(found) == 1 and found[0].units_only:
            name = self.load("unit", found[0].by)
            inside = f"{name} in {self.constant(found[0].include)}"
            if found[0].exclude:
                inside += f" and {name} not in {self.constant(found[0].exclude)}"
            return f"{name} is not None and not ({inside})" if clause.negate else inside
        tests = [f"{self.constant(cohort.contains)}(context) is {not clause.negate}" for cohort in found]
        return (" and " if clause.negate else " or ").join(tests)


class CompiledCohort:
    """A cohort's membership test, and its lists for a flag that tests them inline."""

    def __init__(
        self,
        by: str,
        include: frozenset[str],
        exclude: frozenset[str],
        any_of: Sequence[Sequence[Clause]],
    ) -> None:
        self.by = by
        self.include = include
        self.exclude = exclude
        self.units_only = not any_of and bool(include or exclude)
        self.contains: Membership = self._program(any_of)

    def _program(self, any_of: Sequence[Sequence[Clause]]) -> Membership:
        program = Program()
        if self.include or self.exclude:
            name = program.load("unit", self.by)
        if self.exclude:
            program.line(f"if {name} is None: return None")
            program.line(f"if {name} in {program.constant(self.exclude)}: return False")
        if self.include:
            program.line(f"if {name} in {program.constant(self.include)}: return True")
        for clauses in any_of:
            with program.when_all(clauses, _no_cohorts):
                program.line("return True")
        if self.include:
            program.line(f"if {name} is None: return None")
        program.line("return False")
        return program.build()


Cohorts = Callable[[str], CompiledCohort]


def _no_cohorts(key: str) -> CompiledCohort:
    raise AssertionError(key)  # parse refuses a cohort built on cohorts


def _of_one_kind(kinds: attributes.Kinds) -> bool:
    """Only texts or only numbers: what a set can test without a detour."""
    return not kinds[2] and bool(kinds[0]) != bool(kinds[1])

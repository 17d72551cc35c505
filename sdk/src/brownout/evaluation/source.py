"""Writes the Python of one flag or cohort: nested ifs over local variables, the leanest that CPython runs.

No operand ever becomes source text: operands are constants k0, k1, …, so flags of one shape share one code
object (the source is the cache key) and no attribute or value can inject anything. Why code and not closures:
docs/adr/0010.
"""

import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from types import CellType, CodeType, FunctionType
from typing import Any

import mmh3
from msgspec.structs import replace

from brownout.context import Context
from brownout.evaluation import attributes
from brownout.evaluation.attributes import MAX_TEXT, kinds_of
from brownout.evaluation.bucketing import first_hash_at
from brownout.model import operators
from brownout.model.resources import Clause, Share

Membership = Callable[[Context], bool | None]
"""Whether a context is in a cohort; None when that cannot be known."""

_GLOBALS: dict[str, Any] = {
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
MAX_SHARED = 64
"""Longer lists of values are a flag's own: nobody should keep one alive for a flag that is gone."""

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
def _code(source: str) -> CodeType:
    """The code of the function `run` that `source` defines inside a function `make`."""
    module = compile(source, "<brownout>", "exec")  # source made here, of no foreign text
    (make,) = (constant for constant in module.co_consts if isinstance(constant, CodeType))
    (run,) = (constant for constant in make.co_consts if isinstance(constant, CodeType))
    return run


@lru_cache(maxsize=8_192)
def _shared_cell(kind: type, value: object) -> CellType:  # noqa: ARG001 - `kind` keeps 1 and True apart
    """One cell for one operand, however many flags use it: less memory, and warm in the processor's cache."""
    return CellType(value)


class Program:
    """The body of `def run(context)` while it is written."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._constants: list[CellType] = []
        self._names_of: dict[int, str] = {}
        """By the identity of the constant."""
        self._depth = 3
        self._loaded: dict[tuple[str, str], str] = {}
        self._names = 0

    def build(self, recover: Callable[[Any], object] | None = None) -> Callable[[Context], Any]:
        """The function. With `recover`, whatever the context raises ends in `recover(context)`."""
        rescue = self.constant(recover)
        body = "\n".join(self._lines)
        lines = ["        try:", body, "        except Exception:", f"            return {rescue}(context)"]
        if recover is None:
            lines = ["        if True:", body]
        names = ", ".join(f"k{n}" for n in range(len(self._constants)))
        code = _code("\n".join([f"def make({names}):", "    def run(context):", *lines, "    return run", ""]))
        cells = tuple(self._constants[int(name[1:])] for name in code.co_freevars)
        return FunctionType(code, _GLOBALS, "run", None, cells)

    def constant(self, value: object) -> str:
        """The name by which the code knows `value`."""
        return self._cell(CellType(value))

    def operand(self, value: Hashable) -> str:
        """The same for a value that other flags may share."""
        return self._cell(_shared_cell(type(value), value))

    def _cell(self, cell: CellType) -> str:
        name = self._names_of.setdefault(id(cell.cell_contents), f"k{len(self._constants)}")
        if name == f"k{len(self._constants)}":
            self._constants.append(cell)
        return name

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

    @contextmanager
    def unless_any(self, clauses: Sequence[Clause], cohorts: "Cohorts") -> Iterator[None]:
        """What is written inside runs only when none of the clauses holds."""
        before, depth = dict(self._loaded), self._depth
        for clause in clauses:
            condition = self.condition(clause, cohorts)
            self.line(f"if not ({condition}):")
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
        operand = self.operand if len(clause.values) <= MAX_SHARED else self.constant
        if op == "contains" or (op == "in" and not _of_one_kind(kinds)):
            asked = "contains" if op == "contains" else "member"
            return f"{asked}({self._get(clause.attribute)}, {operand(kinds)}) is {not clause.negate}"
        if op == "in":
            reader, allowed = ("text", kinds[0]) if kinds[0] else ("number", kinds[1])
            test = f"{{}} {negate}in {operand(allowed)}"
        elif op in {"starts_with", "ends_with"}:
            reader = "text"
            test = f"{negate}{{}}.{op.replace('_', '')}({operand(clause.values)})"
        elif op in operators.NUMERIC:
            reader = "number"
            test = f"{negate}{{}} {_COMPARE[op]} {operand(clause.values[0])}"
        elif op in operators.TEMPORAL:
            reader = "moment"
            test = f"{negate}{{}} {_COMPARE[op]} {operand(operators.instant(str(clause.values[0])))}"
        else:
            reader, versions = "release", [operators.version(str(value)) for value in clause.values]
            asked = f"in {operand(frozenset(versions))}" if op == "semver_eq" else ""
            test = f"{negate}{{}} {asked or f'{_COMPARE[op]} {operand(versions[0])}'}"
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

    def split(
        self, shares: Sequence[Share], by: str, seed: str, outcome: Callable[[str], object], fallback: object
    ) -> None:
        """Returns the outcome whose share the unit's hash falls into; `fallback` when there is no usable unit."""
        name = self.load("unit", by)
        with self.when(f"{name} is None"):
            self.line(f"return {self.constant(fallback)}")
        self.line(f"hashed = hash32(({self.constant(seed + ':')} + {name}).encode(), 0)")
        edge = 0
        for share in shares:
            edge += share.weight_bp
            answer = self.constant(outcome(share.variant))
            if edge == 10_000:
                self.line(f"return {answer}")
                break
            if share.weight_bp:
                self.line(f"if hashed < {self.operand(first_hash_at(edge))}: return {answer}")

    def _get(self, attribute: str) -> str:
        if "." in attribute:
            return f"dotted(context, {self.operand(attribute)}, {self.operand(tuple(attribute.split('.')))})"
        return f"context.get({self.operand(sys.intern(attribute))})"  # interned, as literals in a caller's code are

    def _in_cohort(self, clause: Clause, cohorts: "Cohorts") -> str:
        found = [cohorts(str(key)) for key in clause.values]
        if len(found) == 1 and found[0].units_only:
            name = self.load("unit", found[0].by)
            inside = f"{name} in {self.constant(found[0].include)}"
            if found[0].exclude:
                inside += f" and {name} not in {self.constant(found[0].exclude)}"
            return f"{name} is not None and not ({inside})" if clause.negate else inside
        if clause.negate:
            return " and ".join(f"{self.constant(cohort.decides)}(context) is False" for cohort in found)
        return " or ".join(f"{self.constant(cohort.contains)}(context) is True" for cohort in found)


class CompiledCohort:
    """A cohort's membership test, and its lists for a flag that tests them inline.

    `contains` is True for members and anything else for others. `decides` costs more for those, and tells False (known
    not to be a member) from None (an attribute that decides it is missing or mistyped): what a negated clause asks.
    """

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
        self.contains: Membership = self._program(any_of, decide=False)
        self._any_of = any_of

    @cached_property
    def decides(self) -> Membership:
        return self._program(self._any_of, decide=True)

    def _program(self, any_of: Sequence[Sequence[Clause]], *, decide: bool) -> Membership:
        program = Program()
        unit = program.load("unit", self.by) if self.include or self.exclude else ""
        if self.exclude:
            program.line(f"if {unit} is None: return None")
            program.line(f"if {unit} in {program.constant(self.exclude)}: return False")
        if self.include:
            program.line(f"if {unit} in {program.constant(self.include)}: return True")
        for clauses in any_of:
            with program.when_all(clauses, _no_cohorts):
                program.line("return True")
        for clauses in any_of if decide else ():
            with program.unless_any([_opposite(clause) for clause in clauses], _no_cohorts):
                program.line("return None")  # no clause is known to fail, and one at least is not known to hold
        if self.include:
            program.line(f"if {unit} is None: return None")
        program.line("return False")
        return program.build()


Cohorts = Callable[[str], CompiledCohort]


def _no_cohorts(key: str) -> CompiledCohort:
    raise AssertionError(key)  # parse refuses a cohort built on cohorts


def _opposite(clause: Clause) -> Clause:
    """Holds when `clause` is known to fail: a missing attribute makes both false."""
    return replace(clause, negate=not clause.negate)


def _of_one_kind(kinds: attributes.Kinds) -> bool:
    """Only texts or only numbers: what a set can test without a detour."""
    return not kinds[2] and bool(kinds[0]) != bool(kinds[1])

"""One flag, compiled: a function from a context to the outcome that was made for it beforehand."""

from collections.abc import Callable, Sequence
from itertools import groupby, takewhile
from typing import NamedTuple

import msgspec

from brownout.context import NOTHING, Context
from brownout.evaluation.counts import Counts
from brownout.evaluation.decision import NO_METADATA, ErrorCode, Metadata, Outcome, Reason, Validity
from brownout.evaluation.source import Cohorts, Membership, Program
from brownout.model.frozen import FrozenDict, freeze
from brownout.model.resources import Clause, Flag, FlagType, FlagValue, Rule, Serve, Split
from brownout.wire.telemetry import parse_rollout_rule

Evaluate = Callable[[Context], Outcome]
Expose = Callable[[Outcome, Context], None]


class SafeCase(NamedTuple):
    """An activation that serves safe variants: always, or to the members of any of `cohorts`."""

    activation: str
    cohorts: tuple[Membership, ...]


class CompiledFlag:
    """`run` answers without safe mode; `serving(cases)` with it. `outcomes` are all they can answer."""

    __slots__ = (
        "_off_variant",
        "_safe",
        "_variations",
        "key",
        "outcomes",
        "run",
        "safe_variant",
        "spec_type",
        "validity",
        "values",
    )

    def __init__(self, key: str, spec: Flag, cohorts: Cohorts, validity: Validity) -> None:
        self.key = key
        self.spec_type: FlagType = spec.type
        self.validity = validity
        self.safe_variant = spec.safe_variant
        self._off_variant = spec.off_variant
        self.values: dict[str, FlagValue] = {name: _shared(value) for name, value in spec.variants.items()}
        self.outcomes: list[Outcome] = []
        self._safe: dict[str, Outcome] = {}
        """By the activation that serves the safe variant."""
        self._variations: dict[Outcome, list[Outcome]] = {}
        self.run: Evaluate = self._program(spec, cohorts).build(self._recover)

    def serving(self, cases: Sequence[SafeCase]) -> Evaluate:
        """`run` behind the safe-mode cases, the first that matches winning."""
        if self.safe_variant is None or not cases:
            return self.run
        program = Program()
        for case in cases:
            outcome = program.constant(self.cached_safe_outcome(case.activation))
            if not case.cohorts:
                program.line(f"return {outcome}")
                break
            tests = [f"{program.constant(contains)}(context) is True" for contains in case.cohorts]
            with program.when(" or ".join(tests)):
                program.line(f"return {outcome}")
        else:
            program.line(f"return {program.constant(self.run)}(context)")

        def recover(context: Context | None) -> Outcome:
            return run(NOTHING) if context is None else self.invalid()

        run: Evaluate = program.build(recover)
        return run

    def safe_outcome(self, activation: str) -> Outcome:
        """The safe variant, served because of `activation`. Whoever asks for it keeps it and counts it."""
        assert self.safe_variant is not None
        value, metadata = self.values[self.safe_variant], FrozenDict(safe_mode=activation)
        return Outcome(
            self.key, value, self.safe_variant, Reason.TARGETING_MATCH, metadata=metadata, validity=self.validity
        )

    def cached_safe_outcome(self, activation: str) -> Outcome:
        """`safe_outcome`, kept and counted here."""
        if activation not in self._safe:
            self._safe[activation] = self._add(self.safe_outcome(activation))
        return self._safe[activation]

    def variation(self, of: Outcome, value: FlagValue | None, error: ErrorCode | None, metadata: Metadata) -> Outcome:
        """What is served in place of `of`: another value, or with `error` the caller's default. Kept and counted here."""
        known = self._variations.setdefault(of, [])
        for made in known:
            if (made.error, made.metadata) == (error, metadata) and (error is not None or made.value == value):
                return made
        if value is None:
            made = Outcome(self.key, error=error, metadata=metadata, validity=self.validity)
        else:
            made = Outcome(self.key, value, of.variant, of.reason, of.rule, metadata=metadata, validity=self.validity)
        known.append(made)
        return self._add(made)

    def mismatch(self) -> Evaluate:
        """Answers who asks for another type."""
        outcome = self._error(ErrorCode.TYPE_MISMATCH)
        return lambda context: outcome  # noqa: ARG005

    def as_object(self, run: Evaluate) -> Evaluate:
        """`run` with the values of an LLM type as plain JSON objects, for callers that know no structs."""
        plain: dict[Outcome, Outcome] = {}

        def convert(context: Context) -> Outcome:
            outcome = run(context)
            if outcome.error is not None:
                return outcome
            if outcome not in plain:
                value = freeze(msgspec.to_builtins(outcome.value))
                made = Outcome(
                    self.key, value, outcome.variant, outcome.reason, outcome.rule,
                    metadata=outcome.metadata, validity=self.validity,
                )  # fmt: skip
                self.outcomes.append(made)
                plain[outcome] = made
            return plain[outcome]

        return convert

    @property
    def in_rollout(self) -> bool:
        return any(outcome.rule is not None and parse_rollout_rule(outcome.rule) for outcome in self.outcomes)

    def count_into(self, counts: Counts) -> None:
        for outcome in list(self.outcomes):
            outcome.count_into(counts)

    def _program(self, spec: Flag, cohorts: Cohorts) -> Program:
        program = Program()
        if not spec.enabled:
            program.line(f"return {program.constant(self._outcome(spec.off_variant, Reason.DISABLED))}")
            return program
        self._rules(program, [(rule.when, rule) for rule in spec.rules], cohorts)
        self._serve(program, spec.default, Reason.DEFAULT if spec.rules else Reason.STATIC, None)
        return program

    def _rules(self, program: Program, rules: Sequence[tuple[Sequence[Clause], Rule]], cohorts: Cohorts) -> None:
        """Rules with the clauses still to test. Neighbours that begin alike share the test, as a person would write it."""
        for first, neighbours in groupby(rules, key=lambda pair: pair[0][:1]):
            if not first:
                for _, rule in neighbours:
                    self._serve(program, rule.serve, Reason.TARGETING_MATCH, rule.id)
                continue
            with program.when(program.condition(first[0], cohorts)):
                self._rules(program, [(clauses[1:], rule) for clauses, rule in neighbours], cohorts)

    def _serve(self, program: Program, serve: Serve, reason: Reason, rule: str | None) -> None:
        if isinstance(serve, Split):
            missing = FrozenDict(unit_missing=True)
            fallback = self._outcome(fallback_of(serve, self._off_variant), Reason.SPLIT, rule, missing)

            def outcome(variant: str) -> Outcome:
                return self._outcome(variant, Reason.SPLIT, rule)

            program.split(serve.split, serve.by, serve.seed or self.key, outcome, fallback)
        else:
            program.line(f"return {program.constant(self._outcome(serve, reason, rule))}")

    def _outcome(
        self, variant: str, reason: Reason, rule: str | None = None, metadata: Metadata = NO_METADATA
    ) -> Outcome:
        # A rule's own are made one after another: among thousands of rules, only the last one's are looked at.
        latest = takewhile(lambda known: known.rule == rule, reversed(self.outcomes))
        for known in self.outcomes if rule is None else latest:
            if (known.variant, known.reason, known.rule, known.metadata) == (variant, reason, rule, metadata):
                return known
        value = self.values[variant]
        return self._add(Outcome(self.key, value, variant, reason, rule, metadata=metadata, validity=self.validity))

    def _error(self, code: ErrorCode) -> Outcome:
        for known in self.outcomes:
            if known.error is code:
                return known
        return self._add(Outcome(self.key, error=code, validity=self.validity))

    def _add(self, outcome: Outcome) -> Outcome:
        self.outcomes.append(outcome)
        return outcome

    def _recover(self, context: Context | None) -> Outcome:
        """What becomes of a context that raised: None is an empty one; of the rest only the code is told."""
        return self.run(NOTHING) if context is None else self.invalid()

    def invalid(self) -> Outcome:
        """For a context that cannot be read."""
        return self._error(ErrorCode.INVALID_CONTEXT)


def exposing(run: Evaluate, expose: Expose) -> Evaluate:
    """`run`, telling `expose` of each answer that a rule gave."""

    def told(context: Context) -> Outcome:
        outcome = run(context)
        if outcome.rule is not None:
            expose(outcome, context)
        return outcome

    return told


def fallback_of(split: Split, off_variant: str) -> str:
    """The variant for a context without a usable unit: never what is being rolled out."""
    if split.fallback is not None:
        return split.fallback
    if any(share.variant == off_variant for share in split.split):
        return off_variant
    largest = max(share.weight_bp for share in split.split)
    return next(share.variant for share in reversed(split.split) if share.weight_bp == largest)


def _shared(value: FlagValue) -> FlagValue:
    return freeze(value) if isinstance(value, dict | list) else value

"""One request class, compiled: its flags are evaluated, and their outcomes looked up in a memo of policies.

A plan holds its flags' functions themselves, so a policy never mixes two revisions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from brownout.context import NOTHING, Context
from brownout.evaluation.attributes import unit
from brownout.evaluation.bucketing import bucket
from brownout.evaluation.counts import Counts, PolicyCount, add
from brownout.evaluation.decision import ErrorCode, Outcome, Validity
from brownout.evaluation.flag import CompiledFlag
from brownout.evaluation.lock import WRITING
from brownout.evaluation.policy import Policy, assemble, safe_mode_of, tighten
from brownout.evaluation.safemode import Activation, join
from brownout.evaluation.source import Membership, Program
from brownout.model.frozen import FrozenDict
from brownout.model.resources import RequestClass
from brownout.model.values import ModelRoute
from brownout.wire.telemetry import parse_rollout_rule

MAX_REMEMBERED = 4_096
_INVALID = -1


class PolicyOutcome:
    """One way in which a policy can turn out; counted like brownout.decision.Outcome."""

    __slots__ = ("count", "made", "outcomes", "policy", "reported", "shed", "validity")

    def __init__(self, made: Policy, outcomes: Mapping[str, Outcome], validity: Validity) -> None:
        self.made = made
        self.outcomes = outcomes
        self.validity = validity
        self.count = 0
        self.reported = 0
        self.policy = UNSTAMPED
        self.shed: PolicyOutcome | None = None

    def at(self, revision: int) -> Policy:
        """The policy at `revision`, the environment's as read after this outcome was found."""
        policy = self.policy
        if policy.revision == revision:
            return policy
        at = self.validity.revision(revision)
        provenance = {
            field: outcome.decide(revision) if outcome.error is None else outcome.fail(outcome.flag, None, at)
            for field, outcome in self.outcomes.items()
        }
        exposures = tuple(
            (decision.rule, decision.variant)
            for decision in provenance.values()
            if decision.rule is not None and decision.variant is not None and parse_rollout_rule(decision.rule)
        )
        self.policy = msgspec.structs.replace(
            self.made, revision=at, provenance=FrozenDict(provenance), exposures=exposures
        )
        return self.policy

    def count_into(self, counts: Counts) -> None:
        """Adds how often it was answered since this was asked last, for the policy and for the flags behind it."""
        fresh = self.count - self.reported
        self.reported += fresh
        target = self.made.model.name if self.made.model else None
        add(counts.policies, PolicyCount(self.made.request_class, target, self.made.safe_mode.active), fresh)
        for outcome in self.outcomes.values():
            outcome.count_into(counts, besides=fresh)
        if self.shed is not None:
            self.shed.count_into(counts)


UNSTAMPED = Policy("", revision=-2)
"""No environment has this revision; one that holds nothing yet has -1."""


class Plan:
    """`run(context)` answers with a PolicyOutcome. `flags` are by the class's field, in a fixed order; `lacking` says why
    one that the class names is not among them."""

    def __init__(
        self,
        key: str,
        spec: RequestClass,
        *,
        flags: Mapping[str, CompiledFlag],
        templates: Mapping[str, str],
        activations: Sequence[Activation],
        cohorts: Mapping[str, Membership],
        validity: Validity,
        lacking: ErrorCode | None = None,
    ) -> None:
        self.key = key
        self.validity = validity
        self._spec = spec
        self._lacking = lacking
        self._flags = flags
        self._templates = templates
        self._activations = activations
        self._cohorts = cohorts
        self._always = sum(1 << n for n, activation in enumerate(activations) if not activation.spec.scope.cohorts)
        self._memo = _Memo(self._compose)
        self.run: Callable[[Context], PolicyOutcome] = self._program().build(self._recover)

    def count_into(self, counts: Counts) -> None:
        self._memo.folded.move_to(counts)
        for outcome in list(self._memo.values()):
            outcome.count_into(counts)

    def _program(self) -> Program:
        """Bit n of `active` says whether the n-th activation applies. Each cohort is asked once, whatever names it, and
        not at all when all that name it apply already."""
        program = Program()
        program.line(f"active = {program.constant(self._always)}")
        for cohort, bits in self._bits_by_cohort().items():
            mask = program.constant(bits)
            asked = f"{program.constant(self._cohorts[cohort])}(context) is True"
            program.line(f"if active & {mask} != {mask} and {asked}: active |= {mask}")
        calls = "".join(f"{program.constant(flag.run)}(context), " for flag in self._flags.values())
        program.line(f"found = {program.constant(self._memo)}[({calls}active,)]")
        program.line("if found.shed is None: return found")
        program.line(f"return {program.constant(self._shed)}(context, found)")
        return program

    def _bits_by_cohort(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for n, activation in enumerate(self._activations):
            for cohort in activation.spec.scope.cohorts:
                found[cohort] = found.get(cohort, 0) | 1 << n
        return found

    def _shed(self, context: Context, found: PolicyOutcome) -> PolicyOutcome:
        """Sheds by the unit's bucket: the same units all through an incident, and more of them as the share grows."""
        name = unit(context.get("targeting_key"))
        if name is None:
            return _shed_whole(found)
        assert found.shed is not None
        return found.shed if bucket(f"shed:{self.key}", name) < found.made.shed_bp else found

    def _recover(self, context: Context | None) -> PolicyOutcome:
        if context is None:
            return self.run(NOTHING)
        return _shed_whole(self._memo[(*(flag.run(NOTHING) for flag in self._flags.values()), _INVALID)])

    def _compose(self, key: tuple[Any, ...]) -> PolicyOutcome:
        *found, active = key
        error = ErrorCode.INVALID_CONTEXT if active == _INVALID else None
        plain: dict[str, Outcome] = {}
        for (field, flag), outcome in zip(self._flags.items(), found, strict=True):
            error = error or outcome.error
            plain[field] = flag.run(NOTHING) if outcome.error is ErrorCode.INVALID_CONTEXT else outcome
        applied = self._applied(self._always if active == _INVALID else active, plain)
        served = {field: self._safe(field, outcome, applied) for field, outcome in plain.items()}
        values = {field: outcome.value for field, outcome in served.items() if outcome.error is None}
        overlay = join({_profile_of(activation): activation.overlay for activation in applied}.values())
        made = tighten(assemble(self.key, self._spec, values, self._templates), overlay, sensitive=self._spec.sensitive)
        made = msgspec.structs.replace(made, safe_mode=safe_mode_of(applied), error_code=error or self._lacking)
        outcome = PolicyOutcome(made, served, self.validity)
        if made.shed_bp:
            outcome.shed = PolicyOutcome(msgspec.structs.replace(made, shed=True), served, self.validity)
        return outcome

    def _applied(self, active: int, plain: Mapping[str, Outcome]) -> tuple[Activation, ...]:
        """Those of the `active` bits whose scope also fits the provider that the flags alone would choose; all of them when
        this version cannot tell which that is."""
        route = plain["model"].value if "model" in plain else None
        primary = route.targets.get(route.primary) if isinstance(route, ModelRoute) else None
        provider = primary.provider if primary else None
        return tuple(
            activation
            for n, activation in enumerate(self._activations)
            if active >> n & 1 and (activation.at_provider(provider) or self._provider_unknown)
        )

    @property
    def _provider_unknown(self) -> bool:
        return self._lacking is ErrorCode.PARSE_ERROR and "model" not in self._flags

    def _safe(self, field: str, outcome: Outcome, applied: Sequence[Activation]) -> Outcome:
        flag = self._flags[field]
        if flag.safe_variant is None:
            return outcome
        cause = next((activation.key for activation in applied if activation.covers(flag.key)), None)
        return outcome if cause is None else flag.safe_outcome(cause)


def _profile_of(activation: Activation) -> tuple[str, str]:
    """Activations with the same value have the same overlay. Outside of the log, a profile's key may mean another."""
    logged = activation.origin == "log"
    return activation.origin, activation.spec.profile if logged else activation.key


def _shed_whole(found: PolicyOutcome) -> PolicyOutcome:
    """Who has no unit is in no share but the whole."""
    return found.shed if found.shed is not None and found.made.shed_bp == 10_000 else found


class _Memo(dict[tuple[Any, ...], PolicyOutcome]):
    """Composes what it lacks. When full it starts anew, having folded what was counted."""

    def __init__(self, compose: Callable[[tuple[Any, ...]], PolicyOutcome]) -> None:
        super().__init__()
        self._compose = compose
        self.folded = Counts()

    def __missing__(self, key: tuple[Any, ...]) -> PolicyOutcome:
        if len(self) >= MAX_REMEMBERED:
            with WRITING:
                for outcome in list(self.values()):
                    outcome.count_into(self.folded)
                self.clear()
        return self.setdefault(key, self._compose(key))

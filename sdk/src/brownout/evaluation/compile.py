"""An environment made ready to decide: raw specs in, functions out, each compiled when first asked for.

Evaluating threads take no lock: they find a compiled function in a dict and call it. Compiling (the first
call) and applying a commit do take one, which fork waits for too, so a child never inherits half a commit.
A compiled thing is never changed, only retired and replaced; why answers still carry the exact revision
is in docs/adr/0012.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

import msgspec

from brownout.context import NOTHING, Context
from brownout.evaluation.activations import KINDS as SAFE_MODE_KINDS
from brownout.evaluation.activations import Activations
from brownout.evaluation.alone import under_safe_mode
from brownout.evaluation.counts import Counts
from brownout.evaluation.decision import ErrorCode, Outcome, Validity
from brownout.evaluation.flag import CompiledFlag, Evaluate, Expose, SafeCase, exposing
from brownout.evaluation.lock import WRITING
from brownout.evaluation.lookup import Table, TablesByClass, View
from brownout.evaluation.plan import Plan, PolicyOutcome
from brownout.evaluation.policy import Policy, safe_mode_of, tighten
from brownout.evaluation.safemode import Activation, join
from brownout.evaluation.source import CompiledCohort, Membership
from brownout.model.reading import UNREADABLE, read
from brownout.model.references import GOVERNORS
from brownout.model.resources import (
    Cohort,
    Flag,
    RequestClass,
    ResourceRef,
    ResponseTemplate,
    SafeModeActivation,
    SafeModeProfile,
    Spec,
)

if TYPE_CHECKING:
    from brownout.wire import Operation

_LLM_TYPES = frozenset(GOVERNORS.values())
MAX_VIEWS = 64
"""Services whose view is kept: on a server their names come from anywhere."""
MAX_RETIRED = 10_000
"""What waits for its counts to be drained; where nobody drains, as on a server, they are folded."""

_UNREADABLE_CLASS = RequestClass("sheddable", model="", sensitive=True)
"""Stands for one that this version cannot read: it names no flag, and safe mode treats it as strictly as any."""

_S = TypeVar("_S", bound=Spec)


class Compiled:
    """One environment at one revision, for one service (others by `service=`); see the module's docstring."""

    def __init__(
        self,
        environment: str,
        revision: int,
        resources: Mapping[ResourceRef, bytes],
        *,
        service: str = "",
        previous: "Compiled | None" = None,
    ) -> None:
        self.environment = environment
        self.revision = revision
        self.service = service
        self._resources = dict(resources)
        self.resources: Mapping[ResourceRef, bytes] = MappingProxyType(self._resources)
        self._flags: dict[str, CompiledFlag | None] = {}
        self._cohorts: dict[str, CompiledCohort] = {}
        self._used_by: dict[ResourceRef, set[ResourceRef]] = {}
        self._safe_mode = Activations(
            lambda key: self._spec(ResourceRef("safe_mode_activation", key), SafeModeActivation),
            lambda key: self._spec(ResourceRef("safe_mode_profile", key), SafeModeProfile),
        )
        self._retired: list[CompiledFlag | Plan] = previous.everything_compiled() if previous else []
        self._leaving: list[CompiledFlag | Plan] = []
        self._folded: Counts = previous._folded if previous else Counts()
        self._views = {service: View(service, self.find, self.find_policy)}
        tables = self._views[service].tables
        self.any = tables[None]
        self.boolean = tables["boolean"]
        self.string = tables["string"]
        self.integer = tables["integer"]
        self.number = tables["float"]
        self.object = tables["object"]
        self.by_class = TablesByClass(tables)
        self.policies = self._views[service].policies
        self._not_found = ErrorCode.PROVIDER_NOT_READY if revision < 0 else ErrorCode.FLAG_NOT_FOUND
        self._unknown = Outcome("", error=self._not_found, validity=Validity())
        self.failed = Outcome("", error=ErrorCode.GENERAL, validity=Validity())
        self.expose: Expose | None = None
        """Told of each decision that a rollout's rule may have made; set before the first one."""
        self._safe_mode.change(ref for ref in self._resources if ref.kind == "safe_mode_activation")

    @classmethod
    def load(
        cls,
        environment: str,
        revision: int,
        resources: Mapping[ResourceRef, bytes],
        *,
        service: str = "",
        previous: "Compiled | None" = None,
    ) -> "Compiled":
        """`resources` as `encode` wrote them; nothing but safe mode is decoded now.

        `previous` is what this replaces after a snapshot: its undrained counts are taken over.
        """
        return cls(environment, revision, resources, service=service, previous=previous)

    def with_safe_mode(self, changes: Mapping[ResourceRef, bytes]) -> "Compiled":
        """What this would be with `changes`, activations and profiles to put. The two share what is compiled of flags and
        cohorts, so asking what a policy would be costs that policy. For as long as nothing is applied to either."""
        assert all(ref.kind in SAFE_MODE_KINDS for ref in changes)
        made = Compiled(self.environment, self.revision, {**self._resources, **changes}, service=self.service)
        made._flags, made._cohorts = self._flags, self._cohorts
        return made

    # Changing

    def apply(self, ops: "Sequence[Operation]", revision: int) -> None:
        """Makes a commit true, or several in a row; its cost depends on what they touch, not on how much there is.

        `revision` is the last of them. A policy or flag evaluated meanwhile sees all of them or nothing.

        Raises:
            ValueError: `reset` asks for a snapshot, or a put has no spec; nothing was changed.
        """
        changes: dict[ResourceRef, bytes | None] = {}
        for op in ops:
            if op.op == "reset" or (op.op == "put" and isinstance(op.spec, msgspec.UnsetType)):
                raise ValueError(f"cannot apply {op.op} {op.kind} {op.key}")
            changes[ResourceRef(op.kind, op.key)] = None if isinstance(op.spec, msgspec.UnsetType) else bytes(op.spec)
        with WRITING:
            for ref, spec in changes.items():
                if spec is None:
                    self._resources.pop(ref, None)
                else:
                    self._resources[ref] = spec
            changed = self._safe_mode.change(ref for ref in changes if ref.kind in SAFE_MODE_KINDS)
            self._retire(self._dependants([*changes, *self._touched_by_safe_mode(changed)]), revision)

    def set_now(self, now: datetime) -> datetime | None:
        """Lets activations expire by `now`; answers when to call again, None for never.

        Until it is called every activation is in force. `on_expiry: hold` stays in force past its expiry.
        """
        with WRITING:
            if changed := self._safe_mode.set_now(now):
                self._retire(self._dependants(self._touched_by_safe_mode(changed)), self.revision)
            return self._safe_mode.next_end()

    def set_outside(self, outside: tuple[Activation, ...]) -> None:
        """Puts activations in force that are not in the log, beside those that are: together they only tighten."""
        with WRITING:
            if changed := self._safe_mode.set_outside(outside):
                self._retire(self._dependants(self._touched_by_safe_mode(changed)), self.revision)

    def profile(self, key: str) -> SafeModeProfile | None:
        """A safe-mode profile that can be read; None if there is none."""
        with WRITING:
            return self._spec(ResourceRef("safe_mode_profile", key), SafeModeProfile)

    @property
    def active(self) -> tuple[Activation, ...]:
        """The activations in force, by key; after those of the log, those from outside of it."""
        with WRITING:
            return self._safe_mode.in_force

    def overdue(self) -> tuple[Activation, ...]:
        """Held activations past their expiry, as of the last `set_now`."""
        with WRITING:
            return self._safe_mode.overdue()

    def _dependants(self, refs: Iterable[ResourceRef]) -> set[ResourceRef]:
        stale = set(refs)
        pending = list(stale)
        while pending:
            fresh = self._used_by.pop(pending.pop(), set()) - stale
            stale |= fresh
            pending += fresh
        return stale

    def _touched_by_safe_mode(self, changed: Sequence[Activation]) -> set[ResourceRef]:
        """What may decide differently now that `changed` came into force or left it: the policies of the request classes
        and services in their scope, the flags that they give a safe variant outside any request class, and flags of LLM
        types, which they tighten there."""
        stale: set[ResourceRef] = set()
        if not changed:
            return stale
        for view in self._views.values():
            scopes = [activation.spec.scope for activation in changed if activation.in_service(view.service)]
            all_classes = any(not scope.request_classes for scope in scopes)
            named = {key for scope in scopes for key in scope.request_classes}
            stale.update(ResourceRef("request_class", key) for key in view.plans if all_classes or key in named)
        listed = {key for a in changed if a.for_every_request() for key in a.profile.serve_safe_variant}
        for key in self._flags if "*" in listed else listed:
            flag = self._flags.get(key)
            if flag is not None and flag.safe_variant is not None:
                stale.add(ResourceRef("flag", key))
        if any(activation.for_flags_alone() for activation in changed):
            typed = (key for key, flag in self._flags.items() if flag is not None and flag.spec_type in _LLM_TYPES)
            stale.update(ResourceRef("flag", key) for key in typed)
        return stale

    def _retire(self, stale: set[ResourceRef], revision: int) -> None:
        """The order matters: before anyone can read the new revision, an old answer must be known to end with the old."""
        ends = self.revision + 1
        for ref in stale:
            for compiled in self._compiled_from(ref):
                compiled.validity.retired = ends
                self._retired.append(compiled)
        self.revision = revision
        for ref in stale:
            if ref.kind == "flag":
                self._flags.pop(ref.key, None)
            elif ref.kind == "cohort":
                self._cohorts.pop(ref.key, None)
            for view in self._views.values():
                view.forget(ref)
        if len(self._retired) > MAX_RETIRED:
            for compiled in self._retired:
                compiled.count_into(self._folded)
            self._retired.clear()

    def _compiled_from(self, ref: ResourceRef) -> "list[CompiledFlag | Plan]":
        if ref.kind == "flag":
            flag = self._flags.get(ref.key)
            return [] if flag is None else [flag]
        if ref.kind == "request_class":
            return [view.plans[ref.key] for view in self._views.values() if ref.key in view.plans]
        return []

    # Compiling, on first use

    def view(self, service: str | None) -> View:
        """What `service` sees; None is the service that this was loaded for."""
        name = self.service if service is None else service
        found = self._views.get(name)
        if found is None:
            with WRITING:
                found = self._views.setdefault(name, View(name, self.find, self.find_policy))
                while len(self._views) > MAX_VIEWS:
                    oldest = next(known for known in self._views if known not in {self.service, name})
                    for plan in self._views.pop(oldest).plans.values():
                        plan.validity.retired = self.revision + 1
                        self._retired.append(plan)
        return found

    def find(self, view: View, table: Table, key: str) -> Evaluate:
        """Compiles what `table` lacks. An unknown key is not remembered: keys may come from anywhere."""
        with WRITING:
            if ResourceRef("flag", key) not in self._resources:
                return self._answer_unknown
            flag = self._flag(key)
            if flag is None:
                broken = Outcome(key, error=ErrorCode.PARSE_ERROR, validity=Validity())
                run: Evaluate = lambda context: broken  # noqa: ARG005, E731
            elif table.wanted not in {None, flag.spec_type}:
                as_object = table.wanted == "object" and flag.spec_type in _LLM_TYPES
                run = flag.as_object(self._serving(view, flag)) if as_object else flag.mismatch()
            else:
                run = self._serving(view, flag)
            if table.exposes and self.expose is not None and flag is not None and flag.in_rollout:
                run = exposing(run, self.expose)
            table[key] = run
            return run

    def _answer_unknown(self, context: Context) -> Outcome:  # noqa: ARG002
        return self._unknown

    def _serving(self, view: View, flag: CompiledFlag) -> Evaluate:
        if not self._safe_mode.in_force:
            return flag.run
        if flag.spec_type in _LLM_TYPES:
            return self._tightened(view, flag)
        if flag.safe_variant is None:
            return flag.run
        cases = []
        tested: dict[str, Membership] = {}
        for activation in self._safe_mode.in_force:
            cohorts = activation.spec.scope.cohorts
            if not activation.for_every_request() or not activation.in_service(view.service):
                continue
            if not activation.covers(flag.key):
                continue
            fresh = [key for key in dict.fromkeys(cohorts) if key not in tested]  # the first that matches wins
            tested |= {key: self._in_scope(key, ResourceRef("flag", flag.key)) for key in fresh}
            if fresh or not cohorts:
                cases.append(SafeCase(activation.key, tuple(tested[key] for key in fresh)))
            if not cohorts:
                break
        return flag.serving(cases)

    def _tightened(self, view: View, flag: CompiledFlag) -> Evaluate:
        here = [
            activation
            for activation in self._safe_mode.in_force
            if activation.for_flags_alone() and activation.in_service(view.service)
        ]
        if not here:
            return flag.run
        cohorts = dict.fromkeys(cohort for activation in here for cohort in activation.spec.scope.cohorts)
        ref = ResourceRef("flag", flag.key)
        return under_safe_mode(flag, here, {cohort: self._in_scope(cohort, ref) for cohort in cohorts})

    def find_policy(self, view: View, key: str) -> Callable[[Context], PolicyOutcome]:
        """Compiles a request class that has not been asked for yet."""
        with WRITING:
            if key in view.plans:  # by another thread meanwhile; a second plan would never be retired
                return view.plans[key].run
            ref = ResourceRef("request_class", key)
            if ref not in self._resources:
                unknown = PolicyOutcome(self._unknown_policy(view, key), {}, Validity())
                return lambda context: unknown  # noqa: ARG005
            flags: dict[str, CompiledFlag] = {}
            lacking = None
            spec = self._spec(ref, RequestClass)
            if spec is None:
                spec, lacking = _UNREADABLE_CLASS, ErrorCode.PARSE_ERROR
            for field in GOVERNORS:
                name = getattr(spec, field)
                if not name:
                    continue
                self._uses(ref, ResourceRef("flag", name))
                flag = self._flag(name)
                if flag is None:
                    lacking = ErrorCode.PARSE_ERROR
                else:
                    flags[field] = flag
            scoped = [
                activation
                for activation in self._safe_mode.in_force
                if activation.in_service(view.service) and activation.in_request_class(key)
            ]
            cohorts = dict.fromkeys(cohort for activation in scoped for cohort in activation.spec.scope.cohorts)
            plan = Plan(
                key,
                spec,
                flags=flags,
                templates=self._templates(ref, flags.get("ladder")),
                activations=scoped,
                cohorts={cohort: self._in_scope(cohort, ref) for cohort in cohorts},
                validity=Validity(),
                lacking=lacking,
            )
            view.plans[key] = plan
            view.policies[key] = plan.run
            return plan.run

    def _unknown_policy(self, view: View, key: str) -> Policy:
        """Without a configuration, safe mode from outside of it still tightens what a service may do."""
        here = [
            each
            for each in self._safe_mode.in_force
            if each.origin != "log" and each.in_service(view.service) and each.in_request_class(key)
        ]
        bare = Policy(key, error_code=self._not_found)
        if not here:
            return bare
        tight = tighten(bare, join(each.overlay for each in here), sensitive=True)
        return msgspec.structs.replace(tight, safe_mode=safe_mode_of(tuple(here)))

    def _flag(self, key: str) -> CompiledFlag | None:
        if key not in self._flags:
            ref = ResourceRef("flag", key)
            spec = self._spec(ref, Flag)
            self._flags[key] = None
            if spec is not None:
                with suppress(LookupError):  # a cohort that is missing or not understood
                    self._flags[key] = CompiledFlag(key, spec, lambda cohort: self._cohort(cohort, ref), Validity())
        return self._flags[key]

    def cohort(self, key: str) -> CompiledCohort:
        """Compiles a cohort.

        Raises:
            LookupError: there is none, or a newer control plane wrote it.
        """
        with WRITING:
            return self._cohort(key, ResourceRef("cohort", key))

    def _cohort(self, key: str, user: ResourceRef) -> CompiledCohort:
        self._uses(user, ResourceRef("cohort", key))
        found = self._cohorts.get(key)
        if found is None:
            spec = self._spec(ResourceRef("cohort", key), Cohort)
            if spec is None:
                raise LookupError(key)
            found = CompiledCohort(spec.by, frozenset(spec.include), frozenset(spec.exclude), spec.any_of)
            self._cohorts[key] = found
        return found

    def _in_scope(self, cohort: str, user: ResourceRef) -> Membership:
        """Whether a context is in the cohort of an activation's scope: everyone is, where this version cannot tell."""
        try:
            return self._cohort(cohort, user).contains
        except LookupError:
            there = ResourceRef("cohort", cohort) in self._resources
            return lambda context: there  # noqa: ARG005

    def _templates(self, user: ResourceRef, ladder: CompiledFlag | None) -> dict[str, str]:
        found = {}
        for value in ladder.values.values() if ladder else ():
            for rung in getattr(value, "rungs", ()):
                if rung.template is not None:
                    ref = ResourceRef("response_template", rung.template)
                    self._uses(user, ref)
                    spec = self._spec(ref, ResponseTemplate)
                    if spec is not None:
                        found[rung.template] = spec.text
        return found

    def _uses(self, user: ResourceRef, used: ResourceRef) -> None:
        self._used_by.setdefault(used, set()).add(user)

    def _spec(self, ref: ResourceRef, struct: type[_S]) -> _S | None:
        """The decoded spec; None when there is none, or none that this version may decide by."""
        raw = self._resources.get(ref)
        if raw is None:
            return None
        try:
            spec = read(ref.kind, raw)
        except UNREADABLE:
            return None
        return spec if isinstance(spec, struct) else None

    def of_kind(self, kind: str) -> list[tuple[str, bytes]]:
        """Keys and raw specs."""
        with WRITING:
            return [(ref.key, spec) for ref, spec in self._resources.items() if ref.kind == kind]

    # Deciding

    def policy(self, request_class: str, context: Context | None = None, *, service: str | None = None) -> Policy:
        """See brownout.policy.policy."""
        try:
            policies = self.policies if service is None else self.view(service).policies
            found = policies[request_class](NOTHING if context is None else context)
        except Exception:  # noqa: BLE001 - an unhashable key, a stack without room: a service must still get an answer
            return Policy("", revision=self.revision, error_code=ErrorCode.GENERAL)
        found.count += 1
        policy = found.policy
        return policy if policy.revision == self.revision else found.at(self.revision)

    # Counting

    def everything_compiled(self) -> "list[CompiledFlag | Plan]":
        """Everything that may still have counts to report, retired or not."""
        with WRITING:
            flags = [flag for flag in self._flags.values() if flag is not None]
            plans = [plan for view in self._views.values() for plan in view.plans.values()]
            return [*self._leaving, *self._retired, *flags, *plans]

    def drain_counts(self) -> Counts:
        """What was answered since the last call. For one caller at a time; evaluation goes on meanwhile.

        What is retired is read once more in the next call, for threads that were still inside it.
        """
        found = Counts()
        with WRITING:
            self._folded.move_to(found)
            for compiled in self.everything_compiled():
                compiled.count_into(found)
            for outcome in (self._unknown, self.failed):
                outcome.count_into(found)
            self._leaving, self._retired = self._retired, []
        return found

"""Where evaluation looks first: what was compiled before, by the key and the type that callers ask for."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from brownout.context import Context
from brownout.evaluation.flag import Evaluate
from brownout.evaluation.plan import Plan, PolicyOutcome
from brownout.model.resources import VALUE_TYPES, FlagType, ResourceRef

EvaluatePolicy: TypeAlias = Callable[[Context], PolicyOutcome]
FindFlag: TypeAlias = Callable[["View", "Table", str], Evaluate]
FindPolicy: TypeAlias = Callable[["View", str], EvaluatePolicy]


class View:
    """What one service sees: activations scoped to other services are compiled away."""

    def __init__(self, service: str, find: FindFlag, find_policy: FindPolicy) -> None:
        self.service = service
        self.plans: dict[str, Plan] = {}
        self.policies = Policies(self, find_policy)
        self.tables: dict[FlagType | None, Table] = {
            wanted: Table(self, find, wanted) for wanted in (*VALUE_TYPES, None)
        }
        self.unseen = Table(self, find, None, exposes=False)
        """For who asks what a context would get, which exposes nobody to it."""

    def forget(self, ref: ResourceRef) -> None:
        if ref.kind == "flag":
            for table in (*self.tables.values(), self.unseen):
                table.pop(ref.key, None)
        elif ref.kind == "request_class":
            self.policies.pop(ref.key, None)
            self.plans.pop(ref.key, None)


class Table(dict[str, Evaluate]):
    """Functions by flag key, for callers who want one type (None: any); compiles what it lacks."""

    def __init__(self, view: View, find: FindFlag, wanted: FlagType | None, *, exposes: bool = True) -> None:
        super().__init__()
        self.wanted = wanted
        self.exposes = exposes
        self._view = view
        self._find = find

    def __missing__(self, key: str) -> Evaluate:
        return self._find(self._view, self, key)


class Policies(dict[str, EvaluatePolicy]):
    """Functions by request class; compiles what it lacks."""

    def __init__(self, view: View, find: FindPolicy) -> None:
        super().__init__()
        self._view = view
        self._find = find

    def __missing__(self, key: str) -> EvaluatePolicy:
        return self._find(self._view, key)


class TablesByClass(dict[type, Table]):
    """The table for the class of a caller's default; a class that no flag has gives the table of any type."""

    def __init__(self, tables: Mapping[FlagType | None, Table]) -> None:
        super().__init__({VALUE_TYPES[name]: table for name, table in tables.items() if name is not None})
        self[dict] = tables["object"]
        self._any = tables[None]

    def __missing__(self, kind: type) -> Table:
        return self._any

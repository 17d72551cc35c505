from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import controlplane
from controlplane.contract.problems import OUTCOMES, problem_of
from controlplane.errors import BrownoutError, Fault, InvalidInputError


def all_errors(base: type[BrownoutError]) -> Iterator[type[BrownoutError]]:
    for error in base.__subclasses__():
        yield error
        yield from all_errors(error)


def test_every_error_has_its_outcome() -> None:
    for module in walk_packages(controlplane.__path__, "controlplane."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    found = {error.code for error in all_errors(BrownoutError)}
    assert found <= OUTCOMES.keys(), "a new code needs a row in controlplane/contract/problems.py"
    assert len(found) > 8


def test_a_problem_carries_the_faults() -> None:
    faults = (Fault("required", "no name", "/name"),)
    made = problem_of(InvalidInputError("no name", faults), "/there")
    assert (made.status, made.code, made.instance, made.faults) == (422, "invalid", "/there", faults)

from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import controlplane
from controlplane.errors import BrownoutError
from controlplane.problems import EXIT_CODES, OUTCOMES, TITLES, problem_of


def all_errors(base: type[BrownoutError]) -> Iterator[type[BrownoutError]]:
    for error in base.__subclasses__():
        yield error
        yield from all_errors(error)


def test_every_error_has_its_outcome() -> None:
    for module in walk_packages(controlplane.__path__, "controlplane."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    missing = [
        error.__name__
        for error in all_errors(BrownoutError)
        if error not in OUTCOMES and not ("code" not in vars(error) and any(b in OUTCOMES for b in error.__mro__))
    ]
    assert missing == [], "a new code needs a row in controlplane/problems.py"


def test_codes_are_distinct_and_titled() -> None:
    codes = [error.code for error in OUTCOMES]
    assert len(codes) == len(set(codes))
    assert set(EXIT_CODES) <= set(TITLES)


def test_a_problem_carries_the_faults() -> None:
    for error in OUTCOMES:
        made = problem_of(error("no"), "/there")
        assert (made.status, made.code, made.instance) == (error.status, error.code, "/there")

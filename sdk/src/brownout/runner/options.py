"""What a caller says of a request beside what its callables are given, and a request that waits for a person."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from brownout.context import Context
from brownout.evaluation.policy import Policy
from brownout.model.frozen import FrozenDict
from brownout.runner.calls import Output, Turn


class Options(msgspec.Struct, frozen=True):
    """What a caller says of a request, beyond what its callables are given."""

    validate: Callable[[str], Any] | None = None
    """Returns None or True where an answer is good, and what is wrong with it (or False) where it is not; or raises
    ValueError."""
    evidence: tuple[Any, ...] | None = None
    """Sources in order of rank; what is no text is written by `str`."""
    trim: Callable[[dict[str, Any], int], Mapping[str, Any]] | None = None
    """Shortens what the callables are given to so many tokens."""
    values: Mapping[str, object] = FrozenDict()
    """Placeholders of templates and notices, besides the context."""
    version: str = ""
    """The version of the prompt: another one does not share cached answers."""
    resets: bool = False
    """Whether the reader of the stream takes back text on `Reset`."""
    default: Policy | None = None
    """What to do where nothing is known of the request class."""
    request_id: str = ""
    """Names the request: the same one repeated runs no effect twice."""
    drill: str = ""
    """Names the drill that the request is part of: it is counted apart, and rollouts ignore it."""


class Suspended(msgspec.Struct, frozen=True):
    """A request that waits for a person to approve a tool: all that it takes to go on."""

    request_class: str
    context: Context
    arguments: tuple[Any, ...]
    given: Mapping[str, Any]
    options: Options
    turns: tuple[Turn, ...]
    output: Output
    results: Mapping[int, Any]
    waits_for: int
    """The position of the call to approve."""
    approved: frozenset[str]
    declined: frozenset[str]
    done: tuple[str, ...]
    tool_calls: int
    """Effect keys that a person has decided on."""

"""Object values are shared by every caller, so a caller must not be able to change one."""

import copy
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from brownout.model.resources import Json


def _refuse(*_: object, **__: object) -> NoReturn:
    raise TypeError("a flag's value is shared; change a copy.deepcopy() of it")


class FrozenDict(dict[str, Any]):
    """A dict in all but mutation. Copies and pickles are plain dicts."""

    __slots__ = ()
    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {key: copy.deepcopy(value, memo) for key, value in self.items()}

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    copy = __copy__

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return dict, (dict(self),)


class FrozenList(list[Any]):
    """A list in all but mutation. Copies and pickles are plain lists."""

    __slots__ = ()
    __setitem__ = __delitem__ = append = clear = extend = insert = pop = remove = reverse = sort = _refuse
    __iadd__ = __imul__ = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [copy.deepcopy(value, memo) for value in self]

    def __copy__(self) -> list[Any]:
        return list(self)

    copy = __copy__

    def __reduce__(self) -> tuple[type, tuple[list[Any]]]:
        return list, (list(self),)


def freeze(value: "Json") -> "Json":
    """`value` with every object and array inside it frozen."""
    if isinstance(value, dict):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    if isinstance(value, list):
        return FrozenList([freeze(item) for item in value])
    return value

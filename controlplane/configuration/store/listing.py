"""The columns that lists are searched by, derived from a spec."""

from typing import NamedTuple

import msgspec

MAX_SEARCH = 2_000


class Listed(NamedTuple):
    """`tags` are lines; `search` is lower case."""

    type: str
    tags: str
    search: str


class Described(msgspec.Struct):
    """What specs of any kind may say of themselves."""

    type: str = ""
    description: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()


def described(encoded: bytes) -> Described:
    """Nothing of a spec whose words this version cannot read."""
    try:
        return msgspec.json.decode(encoded, type=Described)
    except msgspec.DecodeError:
        return Described()


def listed(key: str, encoded: bytes) -> Listed:
    spec = described(encoded)
    words = " ".join((key, spec.description, spec.owner, *spec.tags)).lower()
    return Listed(_stored(spec.type), _stored("\n".join(spec.tags)), _stored(words)[:MAX_SEARCH])


def _stored(text: str) -> str:
    """Postgres text has no NUL."""
    return text.replace("\0", "")

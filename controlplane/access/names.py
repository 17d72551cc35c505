"""What keys and tokens may be called."""

from controlplane.errors import Fault, InvalidInputError

_MAX_NAME = 80


def checked_label(name: str) -> str:
    clean = " ".join(name.split())
    if not 1 <= len(clean) <= _MAX_NAME or not clean.isprintable():
        raise invalid("name", f"a name has 1 to {_MAX_NAME} printable characters")
    return clean


def invalid(field: str, message: str) -> InvalidInputError:
    return InvalidInputError(message, (Fault("invalid_value", message, f"/{field}"),))

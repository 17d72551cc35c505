"""Which passwords are refused: too short, known from breaches, or made of what everybody knows about the person.

Length decides, as NIST SP 800-63B asks; the list of breached passwords, and what people make of such words (`P4ssw0rd2024!`),
are those of zxcvbn (USENIX Security 2016), which works offline. No rule asks for digits or signs.
"""

import math
import re

from controlplane.errors import Fault, InvalidInputError

MAX_LENGTH = 512
"""Long enough for any passphrase, short enough that hashing one is no attack."""

MIN_LENGTH = 12
FEWEST_GUESSES = 1e10
"""What a password must be expected to take: zxcvbn's best grade, out of reach of a slow hash's attacker."""

_JUDGED = 72
"""Characters that are looked at: what a longer one begins with is enough, and patterns take quadratic time."""

_SHORTEST_WORD = 4
PRODUCT = "brownout"


def check_password(
    password: str, *, about: tuple[str, ...] = (), min_length: int = MIN_LENGTH, pointer: str = "/password"
) -> None:
    """Raises InvalidInputError when `password` is too weak to accept. `about`: the person's address and name."""
    lowered, words = password.lower(), _words(about)
    if len(password) < min_length:
        fault = Fault("too_short", f"use at least {min_length} characters; a few words make a good one", pointer)
    elif len(password) > MAX_LENGTH:
        fault = Fault("too_long", f"use at most {MAX_LENGTH} characters", pointer)
    elif any(word in lowered for word in words):
        fault = Fault(
            "too_obvious", "leave your name, your address and the product's name out of the password", pointer
        )
    elif _guesses(password[:_JUDGED], words) < FEWEST_GUESSES:
        message = "passwords like that are known from breaches and tried first; a few unrelated words make a good one"
        fault = Fault("too_common", message, pointer)
    else:
        return
    raise InvalidInputError(fault.message, (fault,))


def _words(about: tuple[str, ...]) -> list[str]:
    """The parts of names and addresses that are long enough to mean something."""
    parts = [part for text in about for part in re.split(r"[^\w]+", text.lower())]
    return sorted({PRODUCT, *(part for part in parts if len(part) >= _SHORTEST_WORD)})


def _guesses(password: str, words: list[str]) -> float:
    from zxcvbn import zxcvbn  # half a megabyte of lists: loaded when somebody chooses a password

    found = float(zxcvbn(password, user_inputs=words)["guesses"])
    return found if math.isfinite(found) else FEWEST_GUESSES

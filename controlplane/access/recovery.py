"""Recovery codes: ten, for when a phone is lost; each works once. 80 random bits need no slow hash."""

import base64
import re
import secrets

from controlplane.kit import tokens

NUMBER = 10
_BYTES = 10
_FORM = re.compile(r"[a-z2-7]{16}")


def mint() -> list[str]:
    """`abcd-efgh-ijkl-mnop`, base32 in lower case."""
    texts = (base64.b32encode(secrets.token_bytes(_BYTES)).decode().lower() for _ in range(NUMBER))
    return ["-".join(text[start : start + 4] for start in range(0, 16, 4)) for text in texts]


def digest(person: str, code: str) -> str | None:
    """What is stored of a code, however it was typed; None when it cannot be one."""
    plain = code.lower().replace("-", "").replace(" ", "")
    return tokens.digest(f"{person}/{plain}") if _FORM.fullmatch(plain) else None

"""A whole environment as one document."""

from datetime import datetime
from typing import Literal

import msgspec

FORMAT: Literal["brownout/1"] = "brownout/1"


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kind → key → spec. Activations are not part of it: copying a configuration must not switch safe mode."""

    resources: dict[str, dict[str, msgspec.Raw]]
    format: Literal["brownout/1"] = FORMAT
    environment: str = ""
    revision: int = 0
    exported_at: datetime | None = None

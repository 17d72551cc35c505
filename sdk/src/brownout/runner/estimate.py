"""How many tokens a prompt has, without a tokenizer: characters per token, learned from what providers count."""

import math
import threading
from typing import Any

FIRST = 3.5
"""Characters per token before anything is learned."""
LEAST, MOST = 0.25, 20.0
MARGIN = 1.1
MEMORY_TOKENS = 50_000.0
"""How far back the average reaches."""
_PRIOR_TOKENS = 500.0


class Estimate:
    """One target in one process. Safe for threads: one lock around every call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens = _PRIOR_TOKENS
        self._characters = _PRIOR_TOKENS * FIRST

    @property
    def characters_per_token(self) -> float:
        return min(max(self._characters / self._tokens, LEAST), MOST)

    def tokens(self, characters: int) -> int:
        """Returns the estimated tokens of so many characters, a tenth on the safe side."""
        with self._lock:
            return math.ceil(max(0, characters) / self.characters_per_token * MARGIN)

    def learn(self, characters: int, tokens: int) -> None:
        """Learns from a prompt's length and the tokens that the provider counted. Impossible pairs are ignored."""
        if tokens <= 0 or not LEAST <= characters / tokens <= MOST:
            return
        with self._lock:
            keep = max(0.0, 1.0 - tokens / MEMORY_TOKENS)
            self._tokens = self._tokens * keep + tokens
            self._characters = self._characters * keep + characters


def characters(value: Any, depth: int = 8) -> int:
    """How many characters of text there are in what a callable is given."""
    if isinstance(value, str):
        return len(value)
    if depth == 0:
        return 0
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    found = 0
    for part in parts:
        found += len(part) if isinstance(part, str) else characters(part, depth - 1)
    return found

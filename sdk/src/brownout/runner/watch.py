"""What a guard sees of an answer that passes through it as bytes: its first content, its tokens, an error inside it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from brownout.runner.calls import NO_HEADERS, Failed
from brownout.runner.classify import classify_body
from brownout.runner.headers import kept_headers

TAIL = 65_536
PROMPT_TOKENS = re.compile(rb'"(?:prompt|input)_tokens"\s*:\s*(\d{1,15})')
CACHED_TOKENS = re.compile(rb'"cache_(creation|read)_input_tokens"\s*:\s*(\d{1,15})')
"""Anthropic counts them beside the prompt; OpenAI, under another name, as a part of it."""
OUTPUT_TOKENS = re.compile(rb'"(?:completion|output)_tokens"\s*:\s*(\d{1,15})')
ERROR = re.compile(rb'^data: ?(\{"(?:error"|type": ?"error").*)$', re.MULTILINE)
WHOLE = re.compile(rb'^data: ?(\[DONE\]|\{"type": ?"(message_stop|response\.(completed|incomplete))")', re.MULTILINE)


class Observation(msgspec.Struct, frozen=True):
    """How an attempt went. Neither failed nor left: it succeeded."""

    failed: Failed | None = None
    left: bool = False
    """The caller stopped reading: neither good nor bad of the target."""
    first_s: float | None = None
    """When the first bytes of the answer came, keep-alives aside."""
    usage: tuple[int, int] | None = None
    headers: Mapping[str, str] = NO_HEADERS


class Watch:
    """Watches one attempt, and tells the admission once how it went.

    Args:
        admission: What was admitted: it has `timeout_s` and `observe`.
        clock: Monotonic seconds.
        late: What to raise when the time is over, as the client's own flavour has it.
        streamed: Whether the client asked for a stream.
    """

    def __init__(
        self, admission: Any, clock: Callable[[], float], *, late: Callable[[str], Exception], streamed: bool
    ) -> None:
        self.streamed = streamed
        self._admission, self._clock, self._late = admission, clock, late
        self._began = clock()
        self._first_s: float | None = None
        self._head: bytes = b""
        self._tail: bytes = b""
        self._headers: Mapping[str, str] = NO_HEADERS
        self._status = 200
        self._ended = False

    def answered(self, status: int, headers: Any) -> None:
        """The response began."""
        self._status, self._headers = status, kept_headers(headers)

    def chunk(self, data: bytes) -> bytes:
        """Looks at a chunk and returns it. Raises if the time is over."""
        passed = self._clock() - self._began
        if self._first_s is None and data.strip() and not data.lstrip().startswith(b":"):
            self._first_s = passed
        if len(self._head) < TAIL:
            self._head += data[: TAIL - len(self._head)]  # Anthropic counts the prompt at the beginning
        self._tail = (self._tail + data)[-TAIL:]
        if passed >= self._admission.timeout_s:
            raise self._late("the time for this attempt is over")
        return data

    def end(self, found: Failed | None = None) -> None:
        """The attempt is over: with a failure, or with the whole answer, which may itself hold an error."""
        if found is None and self._status >= 400:
            found = classify_body(self._head, status=self._status, headers=self._headers)
        elif found is None and (error := ERROR.findall(self._tail)):
            found = classify_body(error[-1], headers=self._headers)
        self._tell(Observation(found, False, self._first_s, self._usage(), found.headers if found else self._headers))

    def leave(self) -> None:
        """The caller does not read on: it has the whole answer or an error, or lost interest."""
        if WHOLE.search(self._tail) or ERROR.search(self._tail):
            self.end()
        self._tell(Observation(None, True, self._first_s, self._usage(), self._headers))

    def _tell(self, seen: Observation) -> None:
        if not self._ended:
            self._ended = True
            self._admission.observe(seen, self._clock())

    def _usage(self) -> tuple[int, int] | None:
        said = self._tail if PROMPT_TOKENS.search(self._tail) else self._head
        prompt, output = PROMPT_TOKENS.findall(said), OUTPUT_TOKENS.findall(self._tail)
        cached = dict(CACHED_TOKENS.findall(said))  # the last of each kind
        return (int(prompt[-1]) + sum(map(int, cached.values())), int(output[-1])) if prompt and output else None

"""A guard for code that keeps calling its provider itself: `OpenAI(http_client=guard(runner, "support-reply"))`.

Each request of the client becomes one attempt: admitted or refused by what the runner knows of the target, bounded in
time, observed, and never retried by the client. For both flavours, httpx and httpx2, and for both kinds of client.
"""

import functools
import importlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Protocol

import msgspec

from brownout.runner.calls import Failed
from brownout.runner.classify import classify
from brownout.runner.watch import Observation, Watch

__all__ = ["async_guard", "guard"]

STATUSES = {"rate_limited": 429, "budget_exhausted": 429, "auth": 403, "bad_request": 400, "overloaded": 503}
HOP_HEADERS = {"content-encoding", "content-length", "transfer-encoding", "connection", "x-should-retry"}


class GuardedRequest(msgspec.Struct, frozen=True):
    """What the client is about to send."""

    request_class: str
    model: str
    characters: int
    """Of the whole body: the prompt, in good approximation."""
    max_output_tokens: int | None = None


class Admission(Protocol):
    """An attempt that may start. `observe` is called exactly once."""

    @property
    def timeout_s(self) -> float:
        """What is left, of the target's limit and of the request's deadline."""
        ...

    def observe(self, seen: Observation, now: float) -> None:
        """Takes note of how it went: breaker, rate gate, budget, limiter, records."""
        ...


class Gate(Protocol):
    """What a guard needs of a runner. `now` is monotonic time in seconds."""

    def admit(self, request: GuardedRequest, now: float) -> Admission | Failed:
        """Returns an attempt, or why there is none: an open breaker, a rate, a budget."""
        ...


def guard(gate: Gate, request_class: str, *, http: Any = None, transport: Any = None) -> Any:
    """Returns a `Client` of httpx2 or httpx to give to `OpenAI()` or `Anthropic()` as `http_client`.

    Args:
        gate: The runner.
        request_class: What the requests are for.
        http: The module, `httpx2` or `httpx`; by default the first that is installed.
        transport: The transport to send with; by default the module's own.
    """
    module = http or _installed()
    inner = transport or module.HTTPTransport(limits=_limits(module))
    return module.Client(transport=_flavour(module)[0](gate, request_class, inner), follow_redirects=True)


def async_guard(gate: Gate, request_class: str, *, http: Any = None, transport: Any = None) -> Any:
    """Returns an `AsyncClient` to give to `AsyncOpenAI()` or `AsyncAnthropic()`; see `guard`."""
    module = http or _installed()
    inner = transport or module.AsyncHTTPTransport(limits=_limits(module))
    return module.AsyncClient(transport=_flavour(module)[1](gate, request_class, inner), follow_redirects=True)


def _installed() -> Any:
    try:
        return importlib.import_module("httpx2")
    except ImportError:
        return importlib.import_module("httpx")


def _limits(module: Any) -> Any:
    return module.Limits(max_connections=1_000, max_keepalive_connections=100)  # as both official clients have it


class _Guarded:
    """What the synchronous and the asynchronous transport share: everything but the sending."""

    module: Any

    def __init__(self, gate: Gate, request_class: str, inner: Any) -> None:
        self._gate, self._request_class, self._inner = gate, request_class, inner

    def begin(self, request: Any) -> Watch | None:
        """Returns the attempt; None for a request to no model. Raises `Failed` if it may not start."""
        body = _body(request, self.module)
        if not isinstance(body.get("model"), str):
            return None
        limits = (body.get("max_completion_tokens"), body.get("max_output_tokens"), body.get("max_tokens"))
        limit = next((limit for limit in limits if isinstance(limit, int)), None)
        asked = GuardedRequest(self._request_class, body["model"], len(request.content), limit)
        admitted = self._gate.admit(asked, time.monotonic())
        if isinstance(admitted, Failed):
            raise admitted
        request.headers["accept-encoding"] = "identity"  # the watch reads what passes
        given = request.extensions.get("timeout", {})
        bounded = {
            name: min(seconds, admitted.timeout_s) if isinstance(seconds := given.get(name), (int, float)) else admitted.timeout_s
            for name in ("connect", "read", "write", "pool")
        }  # fmt: skip
        request.extensions = {**request.extensions, "timeout": bounded}
        streamed = body.get("stream") is True
        return Watch(admitted, time.monotonic, late=self.module.ReadTimeout, streamed=streamed)

    def broken(self, request: Any, error: Exception, watch: Watch | None) -> Any:
        """The response in place of an error: the clients retry a connection error, whatever a header says."""
        found = classify(error)
        if watch is not None:
            watch.end(found)
        status = STATUSES.get(found.error_class, 504)
        said = {"type": f"brownout_{found.error_class}", "code": f"brownout_{found.error_class}", "message": str(found)}
        body = msgspec.json.encode({"type": "error", "error": said})
        headers = {"content-type": "application/json", "x-should-retry": "false"}
        return self.module.Response(status, headers=headers, content=body, request=request)

    def whole(self, request: Any, response: Any) -> Any:
        """A response that was read already. An error says to the client not to retry."""
        headers = {name: value for name, value in response.headers.items() if name.lower() not in HOP_HEADERS}
        if response.status_code >= 400:
            headers["x-should-retry"] = "false"
        return self.module.Response(response.status_code, headers=headers, content=response.content, request=request)


@functools.cache
def _flavour(module: Any) -> tuple[Any, Any]:
    """The two transports of one flavour, whose base classes its clients check."""

    class Stream(module.SyncByteStream):  # type: ignore[misc]
        def __init__(self, inner: Any, watch: Watch) -> None:
            self._inner, self._watch = inner, watch

        def __iter__(self) -> Iterator[bytes]:
            try:
                for chunk in self._inner:
                    yield self._watch.chunk(chunk)
            except Exception as error:
                self._watch.end(classify(error))
                raise
            self._watch.end()

        def close(self) -> None:
            self._inner.close()
            self._watch.leave()

    class AsyncStream(module.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, inner: Any, watch: Watch) -> None:
            self._inner, self._watch = inner, watch

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in self._inner:
                    yield self._watch.chunk(chunk)
            except Exception as error:
                self._watch.end(classify(error))
                raise
            self._watch.end()

        async def aclose(self) -> None:
            await self._inner.aclose()
            self._watch.leave()

    class Transport(_Guarded, module.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            watch = None
            try:
                watch = self.begin(request)
                response = self._inner.handle_request(request)
                if watch is None:
                    return response
                watch.answered(response.status_code, response.headers)
                response.stream = Stream(response.stream, watch)
                if watch.streamed and response.status_code < 400:
                    return response
                response.read()
                return self.whole(request, response)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets a response in its place
                return self.broken(request, error, watch)
            except BaseException:
                if watch is not None:
                    watch.leave()
                raise

        def close(self) -> None:
            self._inner.close()

    class AsyncTransport(_Guarded, module.AsyncBaseTransport):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            watch = None
            try:
                watch = self.begin(request)
                response = await self._inner.handle_async_request(request)
                if watch is None:
                    return response
                watch.answered(response.status_code, response.headers)
                response.stream = AsyncStream(response.stream, watch)
                if watch.streamed and response.status_code < 400:
                    return response
                await response.aread()
                return self.whole(request, response)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client gets a response in its place
                return self.broken(request, error, watch)
            except BaseException:
                if watch is not None:
                    watch.leave()
                raise

        async def aclose(self) -> None:
            await self._inner.aclose()

    Transport.module = AsyncTransport.module = module
    return Transport, AsyncTransport


def _body(request: Any, module: Any) -> Mapping[str, Any]:
    try:
        body = msgspec.json.decode(request.content)
    except (module.RequestNotRead, msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}

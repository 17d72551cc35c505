"""The client: connects once in a process, then answers from memory.

What only starting needs is imported when a client is started: `import brownout` must stay cheap for who imports much.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self, TypeVar

from brownout.context import NOTHING, Context
from brownout.evaluation.decision import ErrorCode, Outcome
from brownout.evaluation.policy import Policy
from brownout.telemetry.recording import Recording

if TYPE_CHECKING:
    import ssl

    from brownout._sync.engine import Engine
    from brownout.evaluation.compile import Compiled
    from brownout.status import Change, Held, Status

_T = TypeVar("_T")

_CLOSE_S = 2.0


class Brownout(Recording):
    """Feature flags, policies and safe mode of one environment.

    Make one with `connect` or `offline` and keep it for the life of the process; it works on in forked children.
    Evaluation is local: it never blocks and never raises.
    """

    _engine: "Engine"

    def __init__(self, compiled: "Compiled") -> None:
        self._compiled = self._holding(compiled)
        self._start_counting()

    @classmethod
    def connect(
        cls,
        url: str | Sequence[str] | None = None,
        *,
        key: str | None = None,
        environment: str | None = None,
        service: str | None = None,
        disk: str | os.PathLike[str] | bool | None = None,
        bundle: str | os.PathLike[str] | None = None,
        stale_after_s: float | None = None,
        domain: str | None = None,
        tls: "ssl.SSLContext | None" = None,
    ) -> Self:
        """Starts following an environment, and returns at once: with what the disk copy or the bundle holds, if any.

        Every argument can come from the environment instead: `BROWNOUT_NATS_URL` (several: comma-separated),
        `BROWNOUT_SDK_KEY`, `BROWNOUT_ENVIRONMENT`, `BROWNOUT_SERVICE`, `BROWNOUT_DISK` (a directory, or `off`),
        `BROWNOUT_BUNDLE`, `BROWNOUT_STALE_AFTER_S` (default 30), `BROWNOUT_JETSTREAM_DOMAIN`. The owner of a host
        switches safe mode on with `BROWNOUT_SAFE_MODE` or a file (`BROWNOUT_SAFE_MODE_FILE`).

        Raises:
            ConfigurationError: something necessary is missing or malformed.
        """
        from brownout._sync.boot import connect
        from brownout.config import configure
        from brownout.evaluation.compile import Compiled

        config = configure(
            urls=url,
            key=key,
            environment=environment,
            service=service,
            disk=disk,
            bundle=bundle,
            stale_after_s=stale_after_s,
            domain=domain,
            tls=tls,
            variables=os.environ,
        )
        client = cls(Compiled.load(config.environment, -1, {}, service=config.service))
        client._engine = connect(config, client)
        return client

    @classmethod
    def offline(cls, path: str | os.PathLike[str], *, key: str | None = None, service: str = "") -> Self:
        """Serves a file written by `brownout export --bundle`, and nothing else, for good.

        `key` (or `BROWNOUT_SDK_KEY`) pins who must have signed it; without one, damage is noticed and forgery is not.

        Raises:
            BundleError: the file is damaged, foreign, or not signed by the key's owner.
            OSError: it cannot be read.
        """
        from pathlib import Path

        from brownout._sync.boot import open_file
        from brownout.evaluation.compile import Compiled

        client = cls(Compiled.load("", -1, {}, service=service))
        client._engine = open_file(Path(path), key or os.environ.get("BROWNOUT_SDK_KEY"), service, client)
        return client

    @property
    def status(self) -> "Status":
        """Whether it answers, from what, and how old that is."""
        return self._engine.status

    @property
    def held(self) -> "Held":
        """What there is to ask for, by one revision: for tools that show it. Costs a walk over all keys."""
        from brownout.status import Held

        compiled = self._compiled
        named = sorted(compiled.resources)
        return Held(
            revision=compiled.revision,
            flags=tuple(ref.key for ref in named if ref.kind == "flag"),
            request_classes=tuple(ref.key for ref in named if ref.kind == "request_class"),
            safe_mode=tuple(activation.spec.profile for activation in compiled.active),
        )

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Blocks until the client is READY: the control plane vouches, just now, for what is held.

        Returns whether it is; False while STALE and once closed. Takes up to two heartbeats (5 s each by default), and
        for ever while no control plane lives: a readiness probe waits with `wait_configured`.
        """
        return self._engine.wait_ready(timeout_s)

    def wait_configured(self, timeout_s: float | None = None) -> bool:
        """Blocks until a verified configuration is held, from NATS, disk or the bundle; returns whether one is.

        It needs no living control plane, so it is the one for readiness probes. `status.source` and `status.age_s` say
        which configuration it is.
        """
        return self._engine.wait_configured(timeout_s)

    def on_change(self, callback: "Callable[[Change], None]") -> Callable[[], None]:
        """Calls `callback` after every change that may change decisions; returns what ends that.

        Callbacks run one after another on a thread of the client's; a slow one delays others, never the updates.
        """
        return _subscribe(self._engine.on_change, callback)

    def on_status(self, callback: "Callable[[Status], None]") -> Callable[[], None]:
        """Calls `callback` when the state, the sync state, the source or the reason why it cannot connect has changed.

        Attempts that fail one after another are one state. Returns a function that ends the subscription.
        """
        return _subscribe(self._engine.on_status, callback)

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Says goodbye and ends every thread and connection. Evaluation goes on from what is held. Idempotent."""
        self._engine.close(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def policy(self, request_class: str, context: Context = NOTHING, default: Policy | None = None) -> Policy:
        policy = super().policy(request_class, context, default)
        if policy.error_code is not None:
            _say_once("request class", request_class, policy.error_code)
        return policy

    def _defaulted(self, key: str, outcome: Outcome, default: _T) -> _T:
        _say_once("flag", key, outcome.error or ErrorCode.GENERAL)
        return default

    @property
    def _fleet(self) -> int | None:
        return self._engine.fleet

    def _who(self) -> tuple[str, str]:
        return self._engine.instance, self._compiled.service

    def _install(self, compiled: "Compiled") -> None:
        self._compiled = self._holding(compiled)


def _say_once(what: str, key: str, code: ErrorCode) -> None:
    """Logs once in a process why a key gets no more than a default; when nothing is held yet, once for all keys.

    The application's handlers may raise, which must not cost the answer.
    """
    from brownout._sync.log import first_time, log

    named = "" if code is ErrorCode.PROVIDER_NOT_READY or type(key) is not str else key[:200]
    with contextlib.suppress(Exception):
        if first_time(f"{what} {named}", code):
            log.warning("%s %r: callers get the default: %s", what, named, code)


def _subscribe(callbacks: list[Callable[[_T], None]], callback: Callable[[_T], None]) -> Callable[[], None]:
    callbacks.append(callback)

    def end() -> None:
        if callback in callbacks:
            callbacks.remove(callback)

    return end

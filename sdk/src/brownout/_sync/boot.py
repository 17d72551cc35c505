"""Starting a client. What a sync needs is imported here and nowhere earlier.

The imports happen in the caller's thread on purpose; see brownout._sync.prepare.
"""

import atexit
import functools
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from brownout import wire
from brownout._sync import fork
from brownout._sync.engine import Engine
from brownout._sync.prepare import prepare
from brownout.config import Config, safe_mode_file
from brownout.errors import BundleError, ConfigurationError
from brownout.telemetry.windows import Windows
from brownout.wire import bundle

if TYPE_CHECKING:
    from brownout.evaluation.compile import Compiled

_EXIT_S = 2.0
"""Longer than handing over the last telemetry waits for an answer."""


class Client(Protocol):
    """What a sync needs of the client that it serves."""

    _compiled: "Compiled"

    def _collect(self, final: bool) -> bytes | None: ...

    def _install(self, compiled: "Compiled") -> None: ...

    def _reborn(self) -> None: ...

    _windows: "Windows | None"


def connect(config: Config, client: Client) -> Engine:
    assert config.key
    verifier = wire.Verifier(config.environment, {config.key.kid: config.key.public})
    engine = _engine(config, verifier, client)
    engine.start()
    if fork.is_cooperative():
        _take_turns(client, engine)
    return engine


def open_file(path: Path, key: str | None, service: str, client: Client) -> Engine:
    """Raises OSError, BundleError or ConfigurationError."""
    content = bundle.read(path)
    verifier = wire.Verifier(content.environment, _trusted(content, key))
    config = Config(
        urls=(),
        key=None,
        environment=content.environment,
        service=service,
        safe_mode=os.environ.get("BROWNOUT_SAFE_MODE", ""),
        safe_mode_file=safe_mode_file(os.environ),
    )
    engine = _engine(config, verifier, client)
    engine.start_offline(content)
    return engine


def _engine(config: Config, verifier: wire.Verifier, client: Client) -> Engine:
    prepare()
    engine = Engine(
        config,
        verifier,
        compiled=client._compiled,
        install=client._install,
        collect=client._collect,
        on_reborn=client._reborn,
        windows=lambda: client._windows,
    )
    client._windows = Windows(lambda: engine.time.now_ms() / 1000, lambda: engine.fleet)
    _at_exit(engine)
    return engine


def _trusted(content: bundle.Bundle, key: str | None) -> dict[str, bytes]:
    if key:
        try:
            parsed = wire.SdkKey.parse(key)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        return {parsed.kid: parsed.public}
    try:
        links = msgspec.json.decode(content.keys, type=wire.KeyChain).links
    except wire.UNREADABLE:
        links = ()
    if not links:
        raise BundleError("the bundle names no key of its own: pass key= to verify it")
    return {links[0].kid: wire.public_key(links[0].pub)}


def _take_turns(client: Client, engine: Engine) -> None:
    """Before it decides, the client gives its own threads a turn, at most ten times a second (docs/adr/0040)."""

    def after_a_turn(decide: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(decide)
        def deciding(*args: object, **options: object) -> object:
            engine.take_turn()
            return decide(*args, **options)

        return deciding

    for name in ("boolean", "string", "integer", "float", "object", "decide", "policy"):
        setattr(client, name, after_a_turn(getattr(client, name)))


def _at_exit(engine: Engine) -> None:
    """Ends the threads before the interpreter does, without keeping a client alive that nobody uses any more."""
    found = weakref.ref(engine)

    def close() -> None:
        if (left := found()) is not None:
            left.close(_EXIT_S)

    atexit.register(close)

"""What the client tells its operator in the log: one line when its state changes, none while the state lasts."""

import contextlib
from collections.abc import Callable
from urllib.parse import urlsplit

from brownout._sync.clock import uptime
from brownout._sync.log import log
from brownout._sync.progress import Trouble
from brownout.config import Config
from brownout.status import Source, State, Status, SyncState

_STALE = "stale"


class Notices:
    """`look` hears of every status; `now` returns seconds on a monotonic clock."""

    def __init__(self, config: Config, now: Callable[[], float] = uptime) -> None:
        self._where = ", ".join(_address(url) for url in config.urls)
        self._key = config.key.kid if config.key else ""
        self._patience_s = config.stale_after_s
        self._now = now
        self._started = now()
        self._was_ready = False
        self._said: str | None = None

    def look(self, status: Status, trouble: Trouble | None) -> None:
        """Logs what has changed since the last look, if that is for an operator. Never raises."""
        if status.sync in {SyncState.CLOSED, SyncState.OFFLINE}:
            return
        if status.state is State.READY and trouble is None:
            self._was_ready = True
            if self._said is not None:
                self._said = None
                self._say(log.info, "recovered: up to date at revision %d", status.revision)
            return
        wrong = trouble or (_STALE if self._is_late(status) else None)
        if wrong is not None and wrong != self._said:
            self._said = wrong
            self._complain(wrong, status)

    def _is_late(self, status: Status) -> bool:
        """The first heartbeat takes a few seconds, which is no news."""
        if status.state is State.READY:
            return False
        return self._was_ready or self._now() - self._started > self._patience_s

    def _complain(self, wrong: str, status: Status) -> None:
        serving = _serving(status)
        if wrong == Trouble.REFUSED:
            text = "NATS at %s refuses the SDK key of environment %r (signing key %s): %s. %s"
            self._say(log.warning, text, self._where, status.environment, self._key, status.last_error, serving)
        elif wrong == Trouble.UNREACHABLE:
            text = "NATS at %s cannot be reached: %s. The client keeps trying. %s"
            self._say(log.warning, text, self._where, status.last_error, serving)
        else:
            age = "" if status.age_s is None else f" for {status.age_s:.0f} s"
            because = f": {status.last_error}" if status.last_error else ""
            text = "STALE: the control plane has not confirmed the configuration%s%s. %s"
            self._say(log.warning, text, age, because, serving)

    def _say(self, level: Callable[..., None], text: str, *arguments: object) -> None:
        """The application's handlers may raise."""
        with contextlib.suppress(Exception):
            level(text, *arguments)


def _serving(status: Status) -> str:
    if status.revision < 0:
        return "Callers get their own defaults."
    source = {Source.DISK: ", from the disk copy", Source.BUNDLE: ", from the bundle"}.get(status.source, "")
    return f"It serves revision {status.revision}{source}."


def _address(url: str) -> str:
    """Without user and password."""
    return urlsplit(url if "://" in url else f"nats://{url}").netloc.rpartition("@")[2]

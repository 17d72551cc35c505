"""One NATS connection, used once: nats-py never reconnects it, we make a new one (nats.py #204, #671, #914, #1019)."""

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import nats
from nats.errors import Error, NoServersError

from brownout import wire
from brownout._sync.direct import signed
from brownout._sync.nats_client import InsistentClient
from brownout.wire.bundle import Signed

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from brownout.config import Config

_CONNECT_TIMEOUT_S = 2
_CLOSE_TIMEOUT_S = 1.0
_PENDING_BYTES = 64 * 1024 * 1024
_NATS_FILES = str(Path(nats.__file__).parent)
_SIGNATURE = f"\r\n{wire.SIGNATURE_HEADER}:".encode()

_EMERGENCY = re.compile(r'permissions violation for subscription to "bo\.[a-z0-9-]+\.emg', re.IGNORECASE)

Taker = Callable[[Signed], None]


class _Client(InsistentClient):
    """nats-py with shorter ways for what reaches every instance of a fleet at the same moment (docs/adr/0043).

    Should nats-py rename what this overrides, we are slower again, not wrong.
    """

    def __init__(self) -> None:
        super().__init__()
        self.takers: dict[int, Taker] = {}
        """By subscription: who takes its messages as they are read, without a queue and a task between."""

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        taker = self.takers.get(sid)
        if taker is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            taker(Signed(data, _signature(headers or b"")))
        except Exception as error:  # noqa: BLE001 - nats-py would stop reading
            await self._error_cb(error)

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        """Does what nats-py's own does, in an eighth of its time; a message of a stream has eight."""
        lines = (line.partition(":") for line in raw.decode("utf-8", "replace").split("\r\n"))
        return {name.strip(): value.strip() for name, colon, value in lines if colon}


class CannotConnectError(Exception):
    """An attempt to connect failed; `cause` says why."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Connection:
    """`lost` is set once and for all when the connection ends, whoever ended it."""

    def __init__(self, config: "Config", instance: str, on_lost: Callable[[], None]) -> None:
        self._config = config
        self._instance = instance
        self._on_lost = on_lost
        self.client = _Client()
        self.lost = asyncio.Event()
        self.last_error = ""
        self._raised: Exception | None = None
        self.may_report = True
        """False once the server has said that the key is not for reports."""
        self.may_lease = True
        """False once the server has said that it knows no leases, or that the key is not for them."""

    @property
    def is_open(self) -> bool:
        return self.client.is_connected and not self.lost.is_set()

    async def open(self, url: str) -> None:
        """Raises CannotConnectError."""
        try:
            await self._open(url)
        except NoServersError as error:  # nats-py told the callback why
            raise CannotConnectError(self._raised or error) from None
        except (Error, OSError, TimeoutError) as error:
            raise CannotConnectError(error) from None

    async def _open(self, url: str) -> None:
        await self.client.connect(
            [url],
            name=self._instance,
            token=self._config.key.secret if self._config.key else None,
            tls=self._config.tls,
            inbox_prefix=wire.Subjects(self._config.environment).inbox(self._instance),
            allow_reconnect=False,
            dont_randomize=True,  # it would draw from the common source of chance
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=_CONNECT_TIMEOUT_S,
            ping_interval=15,
            max_outstanding_pings=2,
            error_cb=self._on_error,
            closed_cb=self._on_closed,
            disconnected_cb=self._on_closed,
        )

    async def subscribe(self, subject: str, taker: Taker) -> None:
        async def queued(msg: "Msg") -> None:
            taker(signed(msg))

        subscription = await self.client.subscribe(
            subject, cb=queued, pending_msgs_limit=-1, pending_bytes_limit=_PENDING_BYTES
        )
        self.client.takers[subscription._id] = taker

    async def answers(self, timeout_s: int) -> bool:
        """Whether the server still answers a ping; everything sent before is then known to have arrived."""
        try:
            await self.client.flush(timeout_s)
        except (Error, OSError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Leaves no task and no socket, also when the peer hangs."""
        try:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await self.client.close()
        finally:  # also when cancelled meanwhile
            writer = getattr(self.client._transport, "_io_writer", None)
            if writer is not None:
                writer.transport.abort()
            self.lost.set()
            await _end_tasks()

    async def _on_error(self, error: Exception) -> None:
        self._raised = error
        text = str(error) or type(error).__name__
        violation = text.lower() if "permissions violation" in text.lower() else ""
        if ".lease" in violation and ('to "bot.' in violation or 'to "bo.' in violation):
            self.may_lease = False
        elif 'permissions violation for publish to "bot.' in violation:
            self.may_report = False
        elif _EMERGENCY.search(text):
            pass  # an older control plane does not know the subject
        else:
            self.last_error = text

    async def _on_closed(self) -> None:
        self.lost.set()
        self._on_lost()


async def _end_tasks() -> None:
    """nats-py forgets its tasks when a connection fails half-way; this thread's loop has one connection at a time."""
    left = [task for task in asyncio.all_tasks() if _is_of_nats(task) and task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_CLOSE_TIMEOUT_S)


def _is_of_nats(task: asyncio.Task[object]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(_NATS_FILES)


def _signature(headers: bytes) -> str:
    _, _, rest = headers.partition(_SIGNATURE)
    return rest.partition(b"\r\n")[0].strip().decode("utf-8", "replace")

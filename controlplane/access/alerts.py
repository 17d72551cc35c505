"""Telling people: a line in the log and, when one is set, a webhook."""

import asyncio

import httpx
import structlog

log = structlog.get_logger(__name__)

_TIMEOUT_S = 5.0


class Alerts:
    """Posts `{"event": …, fields…}` as JSON to `webhook`. Never raises and never holds anything up."""

    def __init__(self, webhook: str) -> None:
        self._webhook = webhook
        self._sending: set[asyncio.Task[None]] = set()

    async def notify(self, event: str, fields: dict[str, str]) -> None:
        log.warning(event, **fields)
        if self._webhook:
            task = asyncio.create_task(self._post({"event": event, **fields}))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _post(self, body: dict[str, str]) -> None:
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
                (await client.post(self._webhook, json=body)).raise_for_status()
        except httpx.HTTPError as error:
            log.error("the alert webhook did not take an alert", alert=body["event"], error=type(error).__name__)

    async def close(self) -> None:
        """Waits for what is on its way."""
        await asyncio.gather(*self._sending)

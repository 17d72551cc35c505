"""The HTTP client of the verbs. The standard library's: httpx costs as much as all the rest (ADR 0150)."""

import os
from collections.abc import Mapping
from http.client import HTTPException, HTTPMessage
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, UnknownHandler

import msgspec

if TYPE_CHECKING:
    import ssl

TIMEOUT_S = 30.0


class NoAnswerError(Exception):
    """No server answers there, or what answers speaks no HTTP."""


class Response(msgspec.Struct, frozen=True):
    status: int
    url: str
    headers: HTTPMessage
    content: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Client:
    """Sends requests below one URL. It takes proxies from the environment and follows no redirect."""

    def __init__(self, base_url: str, headers: Mapping[str, str] | None = None) -> None:
        self._base_url = base_url
        self._headers = {"Accept": "*/*", "User-Agent": "brownout-cli", **(headers or {})}
        self._opener = OpenerDirector()
        for handler in (ProxyHandler(), HTTPHandler(), UnknownHandler()):
            self._opener.add_handler(handler)
        if base_url[:8].lower() == "https://":  # reading the authorities takes longer than all the rest
            self._opener.add_handler(HTTPSHandler(context=_authorities()))

    def request(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Response:
        """Raises NoAnswerError. Every status is an answer."""
        url = self._base_url + path + (f"?{urlencode(params)}" if params else "")
        try:
            request = Request(url, content, {**self._headers, **(headers or {})}, method=method)  # noqa: S310 - http(s) only
            with self._opener.open(request, timeout=timeout_s) as answer:
                return Response(answer.status, url, answer.headers, answer.read())
        except URLError as error:
            raise NoAnswerError(str(error.reason)) from None
        except (OSError, HTTPException, ValueError) as error:
            raise NoAnswerError(str(error) or type(error).__name__) from None

    def send(self, method: str, path: str, body: object, headers: Mapping[str, str] | None = None) -> Response:
        """A request with a JSON body."""
        content = msgspec.json.encode(body)
        return self.request(
            method, path, content=content, headers={"Content-Type": "application/json", **(headers or {})}
        )


def _authorities() -> "ssl.SSLContext":
    """Those of SSL_CERT_FILE and SSL_CERT_DIR, else certifi's."""
    import ssl

    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context()
    import certifi

    return ssl.create_default_context(cafile=certifi.where())

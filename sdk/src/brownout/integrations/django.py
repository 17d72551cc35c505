"""Django: add `brownout.integrations.django.middleware` to MIDDLEWARE, after authentication.

The setting BROWNOUT_CONTEXT names a function of yours, `def attributes(request: HttpRequest) -> Mapping[str, object]`:

    BROWNOUT_CONTEXT = "shop.flags.attributes"
"""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import FileResponse, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils.module_loading import import_string

from brownout import context
from brownout.context import Attributes
from brownout.integrations._attributes import attributes_of, within, within_async

Handler = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


def middleware(get_response: Handler) -> Handler:
    """Sets the context of each request to what the function named by `BROWNOUT_CONTEXT` returns for it."""
    attributes: Callable[[HttpRequest], Attributes] = import_string(settings.BROWNOUT_CONTEXT)

    if iscoroutinefunction(get_response):

        async def handle_async(request: HttpRequest) -> HttpResponseBase:
            with context.scope(attributes_of(request, attributes)):
                return _streaming(await cast("Awaitable[HttpResponseBase]", get_response(request)))

        return handle_async

    def handle(request: HttpRequest) -> Any:
        with context.scope(attributes_of(request, attributes)):
            return _streaming(cast("HttpResponseBase", get_response(request)))

    return handle


def _streaming(response: HttpResponseBase) -> HttpResponseBase:
    """A body that is made while it is sent sees the request's context too; a file's needs none."""
    if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
        seen, body = dict(context.current()), response.streaming_content
        if response.is_async:
            response.streaming_content = within_async(seen, cast("AsyncIterable[bytes]", body))
        else:
            response.streaming_content = within(seen, cast("Iterable[bytes]", body))
    return response


# How Django asks a function which requests it can take.
middleware.sync_capable = True  # type: ignore[attr-defined]
middleware.async_capable = True  # type: ignore[attr-defined]

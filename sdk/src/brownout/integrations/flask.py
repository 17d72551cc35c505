"""Flask: `init_app(app, lambda request: {...})`."""

from collections.abc import Callable, Iterable
from typing import cast

from flask import Flask, Request, Response, g, request

from brownout import context
from brownout.context import Attributes
from brownout.integrations._attributes import attributes_of, within

_TOKEN = "_brownout_context"  # noqa: S105 - a name on flask.g


def init_app(app: Flask, attributes: Callable[[Request], Attributes]) -> None:
    """Sets the context of each request to what `attributes` returns for it."""

    @app.before_request
    def enter() -> None:
        token = context.set_context(attributes_of(request, attributes))
        setattr(g, _TOKEN, token)

    @app.after_request
    def stream(response: Response) -> Response:
        """A body that is made while it is sent sees the request's context too."""
        if response.is_streamed and not response.direct_passthrough:
            body = response.response
            if close := getattr(body, "close", None):
                response.call_on_close(close)  # a generator that never began would not pass it on
            response.response = within(dict(context.current()), cast("Iterable[bytes]", body))
        return response

    @app.teardown_request
    def leave(_error: BaseException | None) -> None:
        if (token := g.pop(_TOKEN, None)) is not None:
            context.reset(token)

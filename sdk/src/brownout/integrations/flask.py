"""Flask: `init_app(app, lambda request: {...})`."""

from collections.abc import Callable

from flask import Flask, Request, g, request

from brownout import context
from brownout.context import Attributes
from brownout.integrations._attributes import attributes_of

_TOKEN = "_brownout_context"  # noqa: S105 - a name on flask.g


def init_app(app: Flask, attributes: Callable[[Request], Attributes]) -> None:
    """Sets the context of each request to what `attributes` answers for it."""

    @app.before_request
    def enter() -> None:
        token = context.set_context(attributes_of(request, attributes))
        setattr(g, _TOKEN, token)

    @app.teardown_request
    def leave(_error: BaseException | None) -> None:
        if (token := g.pop(_TOKEN, None)) is not None:
            context.reset(token)

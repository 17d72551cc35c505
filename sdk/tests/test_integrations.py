"""Each framework's middleware: the context is there for the whole request, in threads too, and gone after it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import django
import pytest
from django.conf import settings
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.test import AsyncClient as DjangoAsyncClient
from django.test import Client as DjangoClient
from django.urls import path
from fastapi import FastAPI
from fastapi.testclient import TestClient as FastApiClient
from flask import Flask, Response, stream_with_context
from litestar import Litestar, get
from litestar.testing import TestClient as LitestarClient

from brownout import context
from brownout.integrations import flask as flask_integration
from brownout.integrations.litestar import BrownoutMiddleware as LitestarMiddleware
from brownout.integrations.starlette import BrownoutMiddleware as StarletteMiddleware


def by_header(request: Any) -> Mapping[str, object]:
    """What a service would write: it raises for requests without the header."""
    return {"targeting_key": request.headers["user"]}


def seen() -> dict[str, object]:
    return dict(context.current())


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Any:
    yield
    assert seen() == {}


def test_fastapi() -> None:
    app = FastAPI()
    app.add_middleware(StarletteMiddleware, attributes=by_header)

    @app.get("/async")
    async def in_the_loop() -> dict[str, object]:
        return seen()

    @app.get("/thread")
    def in_a_thread() -> dict[str, object]:
        return seen()

    with FastApiClient(app) as client:
        for route in ("/async", "/thread"):
            assert client.get(route, headers={"user": "u-1"}).json() == {"targeting_key": "u-1"}
            assert client.get(route).json() == {}


def test_litestar() -> None:
    @get("/async")
    async def in_the_loop() -> dict[str, object]:
        return seen()

    @get("/thread", sync_to_thread=True)
    def in_a_thread() -> dict[str, object]:
        return seen()

    with LitestarClient(Litestar([in_the_loop, in_a_thread], middleware=[LitestarMiddleware(by_header)])) as client:
        for route in ("/async", "/thread"):
            assert client.get(route, headers={"user": "u-1"}).json() == {"targeting_key": "u-1"}
            assert client.get(route).json() == {}


def test_flask() -> None:
    app = Flask("shop")
    flask_integration.init_app(app, by_header)
    app.get("/")(seen)
    client = app.test_client()
    assert client.get("/", headers={"user": "u-1"}).json == {"targeting_key": "u-1"}
    assert client.get("/").json == {}


def in_django(_request: HttpRequest) -> JsonResponse:
    return JsonResponse(seen())


async def in_django_async(_request: HttpRequest) -> JsonResponse:
    await asyncio.sleep(0)
    return JsonResponse(seen())


def body() -> Iterator[str]:
    """Made while it is sent, in pieces."""
    yield "1 "
    yield json.dumps(seen())


async def body_async() -> AsyncIterator[str]:
    yield "1 "
    await asyncio.sleep(0)
    yield json.dumps(seen())


def streamed(_request: HttpRequest) -> StreamingHttpResponse:
    context.update({"plan": "pro"})
    return StreamingHttpResponse(body())


async def streamed_async(_request: HttpRequest) -> StreamingHttpResponse:
    context.update({"plan": "pro"})
    return StreamingHttpResponse(body_async())


urlpatterns = [
    path("sync", in_django), path("async", in_django_async),
    path("streamed", streamed), path("streamed-async", streamed_async),
]  # fmt: skip


def configure_django() -> None:
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["testserver"],
            ROOT_URLCONF=__name__,
            MIDDLEWARE=["brownout.integrations.django.middleware"],
            BROWNOUT_CONTEXT=f"{__name__}.by_header",
        )
        django.setup()


def test_django() -> None:
    configure_django()
    for route in ("/sync", "/async"):
        assert DjangoClient().get(route, headers={"user": "u-1"}).json() == {"targeting_key": "u-1"}
        assert DjangoClient().get(route).json() == {}

    async def ask(route: str) -> Any:
        return (await DjangoAsyncClient().get(route, headers={"user": "u-2"})).json()

    for route in ("/sync", "/async"):
        assert asyncio.run(ask(route)) == {"targeting_key": "u-2"}


STREAMED = b'1 {"targeting_key": "u-1", "plan": "pro"}'


def test_a_streaming_body_in_django_sees_the_context_of_its_request() -> None:
    configure_django()
    answer = DjangoClient().get("/streamed", headers={"user": "u-1"})
    assert seen() == {}
    assert b"".join(answer.streaming_content) == STREAMED

    async def ask(route: str) -> bytes:
        answer = await DjangoAsyncClient().get(route, headers={"user": "u-1"})
        assert seen() == {}
        if answer.is_async:
            return b"".join([piece async for piece in answer.streaming_content])
        return b"".join(answer.streaming_content)

    for route in ("/streamed", "/streamed-async"):
        assert asyncio.run(ask(route)) == STREAMED


def test_a_streaming_body_in_flask_sees_the_context_of_its_request() -> None:
    app = Flask("shop")
    flask_integration.init_app(app, by_header)
    closed: list[str] = []

    def view(make: Callable[[], Any]) -> Callable[[], Response]:
        def streaming() -> Response:
            context.update({"plan": "pro"})
            return Response(make())

        return streaming

    def closing() -> Iterator[str]:
        try:
            yield from body()
        finally:
            closed.append("closed")

    app.add_url_rule("/plain", "plain", view(body))
    app.add_url_rule("/kept", "kept", view(lambda: stream_with_context(body())))
    app.add_url_rule("/closing", "closing", view(closing))
    client = app.test_client()
    for route in ("/plain", "/kept", "/closing"):
        assert client.get(route, headers={"user": "u-1"}).data == STREAMED
        if route == "/kept":
            continue  # Flask's own context stays in the thread that began the body
        elsewhere: list[bytes] = []
        answer = client.get(route, headers={"user": "u-1"}, buffered=False)
        reader = threading.Thread(target=lambda a=answer, out=elsewhere: out.append(b"".join(a.iter_encoded())))
        reader.start()
        reader.join()
        answer.close()
        assert elsewhere == [STREAMED]
    cut = client.get("/closing", headers={"user": "u-1"}, buffered=False)
    next(iter(cut.response))
    cut.close()
    assert closed == ["closed"] * 3
    assert seen() == {}

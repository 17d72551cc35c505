"""Each framework's middleware: the context is there for the whole request, in threads too, and gone after it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import django
import pytest
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient as DjangoAsyncClient
from django.test import Client as DjangoClient
from django.urls import path
from fastapi import FastAPI
from fastapi.testclient import TestClient as FastApiClient
from flask import Flask
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


urlpatterns = [path("sync", in_django), path("async", in_django_async)]


def test_django() -> None:
    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["testserver"],
            ROOT_URLCONF=__name__,
            MIDDLEWARE=["brownout.integrations.django.middleware"],
            BROWNOUT_CONTEXT=f"{__name__}.by_header",
        )
        django.setup()
    for route in ("/sync", "/async"):
        assert DjangoClient().get(route, headers={"user": "u-1"}).json() == {"targeting_key": "u-1"}
        assert DjangoClient().get(route).json() == {}

    async def ask(route: str) -> Any:
        return (await DjangoAsyncClient().get(route, headers={"user": "u-2"})).json()

    for route in ("/sync", "/async"):
        assert asyncio.run(ask(route)) == {"targeting_key": "u-2"}

"""The API's description at /api/openapi.json: what Litestar knows, and what only we know of each route."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute

from controlplane.contract.problems import OUTCOMES, PRECONDITION_FAILED, PRECONDITIONS, Problem

Json = dict[str, Any]

REF = "#/components/schemas/{name}"
READ_REFUSALS = (401, 403, 404, 422, 429, 503)
WRITE_REFUSALS = (*READ_REFUSALS, 409, 413)
PUBLIC_REFUSALS = (422, 429, 503)
"""Of what anybody may read: an address that holds no text, too much of it, and what /readyz is there to say."""


class Description(JsonRenderPlugin):
    """Made once, on the first request: routes do not change."""

    def __init__(self) -> None:
        super().__init__(path="/openapi.json")
        self._made: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: Json) -> bytes:
        if self._made is None:
            self._made = self.render_json(request, describe(openapi_schema, handlers(request.app)))
        return self._made


def handlers(app: Litestar) -> Mapping[str, HTTPRouteHandler]:
    """By operation id."""
    found: dict[str, HTTPRouteHandler] = {}
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            found |= {str(h.operation_id): h for h in route.route_handlers if h.operation_id}
    return found


def describe(schema: Json, by_operation: Mapping[str, HTTPRouteHandler]) -> Json:
    """Adds what handlers read or write as bytes (for better faults, or because it is encoded already), the documented
    refusals, and the permission that each operation needs."""
    raw = {handler.opt[what] for handler in by_operation.values() for what in ("body", "answer") if what in handler.opt}
    _, components = msgspec.json.schema_components((Problem, *raw), ref_template=REF)
    schema.setdefault("components", {}).setdefault("schemas", {}).update(components)
    for method, operation in _operations(schema):
        handler = by_operation.get(operation.get("operationId", ""))
        if handler is None:
            continue
        body = handler.opt.get("body")
        if body is not None:
            reference = {"$ref": REF.format(name=body.__name__)}
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": reference}}}
        answer = handler.opt.get("answer")
        if answer is not None:
            reference = {"$ref": REF.format(name=answer.__name__)}
            operation["responses"]["200"]["content"] = {"application/json": {"schema": reference}}
        action = handler.opt.get("action")
        if action is not None:
            operation["x-permission"] = action.value
        public = bool(handler.opt.get("public"))
        if public:
            operation["security"] = []
        operation["responses"].pop("400", None)
        for status in WRITE_REFUSALS if method != "get" else PUBLIC_REFUSALS if public else READ_REFUSALS:
            operation["responses"][str(status)] = _refusal(status)
        if any(parameter.get("name") == "If-Match" for parameter in operation.get("parameters", ())):
            operation["responses"][str(PRECONDITION_FAILED)] = _described(PRECONDITIONS)
    return schema


def _operations(schema: Json) -> Iterator[tuple[str, Json]]:
    for path in schema.get("paths", {}).values():
        for method, operation in path.items():
            if isinstance(operation, dict) and "responses" in operation:
                yield method, operation


def _refusal(status: int) -> Json:
    return _described(code for code, outcome in OUTCOMES.items() if outcome.status == status)


def _described(codes: Iterable[str]) -> Json:
    content = {"application/problem+json": {"schema": {"$ref": REF.format(name="Problem")}}}
    return {"description": "Refused: " + ", ".join(sorted(codes)), "content": content}


OPENAPI = OpenAPIConfig(
    title="Brownout",
    version=version("brownout-controlplane"),
    description="Feature flags and safe mode for LLM-backed products. Every error is application/problem+json.",
    path="/api",
    render_plugins=[Description()],
    use_handler_docstrings=True,
    components=Components(
        security_schemes={"token": SecurityScheme(type="http", scheme="bearer", description="An API token.")}
    ),
    security=[{"token": []}],
)

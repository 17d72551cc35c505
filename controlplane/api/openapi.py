"""The API's description, served at /api/openapi.json."""

from importlib.metadata import version

from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

OPENAPI = OpenAPIConfig(
    title="Brownout",
    version=version("brownout-controlplane"),
    description="Feature flags and safe mode for LLM-backed products. Every error is application/problem+json.",
    path="/api",
    render_plugins=[JsonRenderPlugin(path="/openapi.json")],
    use_handler_docstrings=True,
    components=Components(
        security_schemes={"token": SecurityScheme(type="http", scheme="bearer", description="An API token.")}
    ),
    security=[{"token": []}],
)

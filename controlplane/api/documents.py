"""Export and import of a whole environment, as JSON or YAML."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter, RawBody

from controlplane.access.actor import Action, Actor
from controlplane.configuration.documents import read_json, read_yaml
from controlplane.contract.document import Document
from controlplane.contract.dto import ImportOutput
from controlplane.http.conditions import Conditions
from controlplane.http.limits import MAX_DOCUMENT_BYTES
from controlplane.http.parameters import Revision
from controlplane.kit.strict_yaml import dump_yaml
from controlplane.services import Services

YAML = "application/yaml"


class DocumentController(Controller):
    path = "/api/v1/environments/{environment:str}"
    tags = ("documents",)

    @get("/export", operation_id="export", opt={"action": Action.EXPORT, "answer": Document})
    async def export(
        self,
        environment: FromPath[str],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        form: Annotated[Literal["json", "yaml"], QueryParameter(name="format")] = "json",
        revision: Revision = None,
    ) -> Response[bytes]:
        """Everything but activations, at the head or at an earlier revision."""
        document = await services.documents.export(actor, environment, revision)
        raw = msgspec.json.encode(document)
        if form == "yaml":
            return Response(dump_yaml(msgspec.json.decode(raw)), media_type=YAML)
        return Response(msgspec.json.format(raw, indent=2), media_type="application/json")

    @get("/bundle", operation_id="bundle", opt={"action": Action.EXPORT})
    async def bundle(
        self, environment: FromPath[str], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> Response[bytes]:
        """A signed copy of the head that an SDK can start from without a network."""
        content = await services.bundles.export(actor, environment)
        return Response(content, media_type="application/vnd.brownout.bundle")

    @post(
        "/import",
        operation_id="import",
        status_code=200,
        opt={"action": Action.IMPORT, "body": Document},
        request_max_body_size=MAX_DOCUMENT_BYTES,
    )
    async def import_(
        self,
        *,
        environment: FromPath[str],
        body: RawBody,
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
        conditions: NamedDependency[Conditions],
        dry_run: Annotated[bool, QueryParameter(description="Say what would happen; write nothing.")] = False,
        prune: Annotated[bool, QueryParameter(description="Delete what the document does not have.")] = False,
        message: FromQuery[str] = "",
    ) -> ImportOutput:
        """Brings the environment to the document, as one commit. YAML with `Content-Type: application/yaml`."""
        is_yaml = "yaml" in request.headers.get("content-type", "")
        document = await asyncio.to_thread(read_yaml, body) if is_yaml else read_json(body)
        done = await services.documents.import_(
            actor,
            environment,
            document,
            message=message,
            prune=prune,
            dry_run=dry_run,
            expected_revision=conditions.expected_revision,
        )
        return ImportOutput.of(done)

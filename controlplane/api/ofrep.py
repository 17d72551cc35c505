"""OFREP: every OpenFeature language asks here, with an SDK key, and the SDK's own evaluator answers."""

from typing import Any

from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from brownout.evaluation.decision import ErrorCode
from brownout.wire import ofrep
from controlplane.access.actor import Action, Actor
from controlplane.configuration.evaluations import Situation
from controlplane.errors import InvalidInputError
from controlplane.interop.ofrep import environment_of
from controlplane.services import Services


def _malformed(request: Request[Any, Any, Any], error: Exception) -> Response[ofrep.Failure | ofrep.BulkFailure]:
    """A request that is none. `InvalidInputError`: the application's own check of JSON bodies came first."""
    code, details = (
        (error.code, error.details) if isinstance(error, ofrep.RequestError) else (ErrorCode.PARSE_ERROR, str(error))
    )
    key = request.path_params.get("key")
    body = ofrep.Failure(key, code.value, details) if key else ofrep.BulkFailure(code.value, details)
    return Response(body, status_code=400)


class OfrepController(Controller):
    path = "/ofrep/v1/evaluate/flags"
    include_in_schema = False  # OpenFeature describes the protocol itself
    exception_handlers = {ofrep.RequestError: _malformed, InvalidInputError: _malformed}  # noqa: RUF012 - as Litestar has it

    @post("/{key:str}", operation_id="ofrepEvaluateFlag", status_code=200, opt={"action": Action.EVALUATE})
    async def one(
        self,
        key: FromPath[str],
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> Response[ofrep.Success | ofrep.Failure]:
        """One flag for one context."""
        situation = Situation(ofrep.parse_context(await request.body()))
        decision = await services.evaluations.decide(actor, environment_of(actor), key, situation)
        answer = ofrep.answer(decision)
        status = ofrep.STATUS.get(answer.error_code, 400) if isinstance(answer, ofrep.Failure) else 200
        return Response(answer, status_code=status)

    @post("/", operation_id="ofrepEvaluateFlagsBulk", status_code=200, opt={"action": Action.EVALUATE})
    async def all(
        self, request: Request[Any, Any, Any], services: NamedDependency[Services], actor: NamedDependency[Actor]
    ) -> Response[ofrep.BulkSuccess | None]:
        """Every flag for one context. The ETag depends on what the flags resolve to: an unchanged answer is a 304."""
        environment = environment_of(actor)
        situation = Situation(ofrep.parse_context(await request.body()))
        revision, decisions = await services.evaluations.decide_all(actor, environment, situation)
        tag = ofrep.etag(decisions)
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        known = {each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")}
        if tag in known or "*" in known:
            return Response(None, status_code=304, headers=headers)
        return Response(ofrep.answer_all(environment, revision, decisions), headers=headers)

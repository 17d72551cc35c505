"""What a context gets: a flag, its explanation, or a whole policy, now or at any revision; and how a request went."""

import msgspec
from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.enums import MediaType
from litestar.params import FromPath, JSONBody

from brownout.evaluation.policy import Policy
from brownout.telemetry.posted import RecordInput
from controlplane.access.actor import Action, Actor
from controlplane.contract.evaluate import DecisionOutput, EvaluateInput, ExplanationOutput, PolicyInput
from controlplane.services import Services


class EvaluationController(Controller):
    path = "/api/v1/environments/{environment:str}"
    tags = ("evaluation",)

    @post("/evaluate", operation_id="evaluate", status_code=200, opt={"action": Action.EVALUATE})
    async def evaluate(
        self,
        environment: FromPath[str],
        data: JSONBody[EvaluateInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> DecisionOutput:
        """One flag for one context. A flag that is not there is an error inside the decision, as in the SDK."""
        decision = await services.evaluations.decide(actor, environment, data.flag, data.situation())
        return DecisionOutput.of(decision)

    @post("/explain", operation_id="explain", status_code=200, opt={"action": Action.EVALUATE})
    async def explain(
        self,
        environment: FromPath[str],
        data: JSONBody[EvaluateInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> ExplanationOutput:
        """The decision, and every rule that was tried with the result of each clause."""
        return ExplanationOutput.of(await services.evaluations.explain(actor, environment, data.flag, data.situation()))

    @post("/policy", operation_id="policy", status_code=200, opt={"action": Action.EVALUATE, "answer": Policy})
    async def policy(
        self,
        environment: FromPath[str],
        data: JSONBody[PolicyInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> Response[bytes]:
        """What to do with one request of this class: model, ladder, budget, tools, retries, under safe mode."""
        policy = await services.evaluations.policy(actor, environment, data.request_class, data.situation())
        return Response(msgspec.json.encode(policy), media_type=MediaType.JSON)

    @post("/record", operation_id="record", status_code=204, opt={"action": Action.REPORT})
    async def record(
        self,
        environment: FromPath[str],
        data: JSONBody[RecordInput],
        services: NamedDependency[Services],
        actor: NamedDependency[Actor],
    ) -> None:
        """How one request went that followed a policy. It is counted as if an SDK had reported it."""
        services.telemetry.record(actor, environment, data)

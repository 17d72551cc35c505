"""How a tool runs for a request: allowed, approved, at most once where it has a side effect, and within the deadline."""

import inspect
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from brownout.runner.calls import ToolCall
from brownout.runner.commands import Command, Invoke
from brownout.runner.core import is_async
from brownout.runner.flow import ASK_S, wait
from brownout.runner.moves import Ask, EffectRan, Failure, Suspended, Wait
from brownout.runner.request import Request, log


def run_tool(
    request: Request, call: ToolCall, function: Callable[..., Any], *, effect: bool, idempotent: bool
) -> Generator[Command, Any, Any]:
    """Returns what the model will be told: the result, or why there is none. None where the request is suspended.

    Raises:
        RuntimeError: the model does not ask for this tool now.
    """
    index = request.index_of(call)
    name = call.name
    refusal = _refusal(request, name)
    needs_approval = request.policy.tools.needs_approval(name)
    if refusal is None and needs_approval and request.key_of(index) not in request.approved:
        yield from _suspend(request, index)
        return None
    if refusal is not None:
        request.results[index] = refusal
        return refusal
    request.tool_calls += 1
    result = yield from _run(request, index, function, effect, idempotent)
    if request.goes_on:
        request.results[index] = result
    return result


def _refusal(request: Request, name: str) -> str | None:
    tools = request.policy.tools
    if not tools.allows(name):
        return f"The tool {name} may not be used."
    if tools.max_calls is not None and request.tool_calls >= tools.max_calls:
        return "No more tools may be used in this request."
    return "There is no time left for tools." if request.left_s == 0.0 else None


def _run(
    request: Request, index: int, function: Callable[..., Any], effect: bool, idempotent: bool
) -> Generator[Command, Any, Any]:
    call, key, log_ = request.output.tools[index], request.key_of(index), request.core.effects
    given = dict(call.arguments)
    if "idempotency_key" in _parameters(function):
        given["idempotency_key"] = key
    work: Callable[..., Any] = function
    if effect:
        known = yield Invoke(log_.start, (key, call.name), timeout_s=request.left_s)
        request.done.append(call.name)
        request.step(EffectRan(request.now()))
        if known is not None and known.done:
            return known.result
        if known is not None and not idempotent:  # started before, and its outcome never became known
            return _failed(request, "its outcome is unknown", idempotent=False, unknown=True)
        if not is_async(function):
            work = partial(_recorded, function, log_.finish, key)
    while True:
        try:
            result = yield Invoke(work, (), given, request.left_s)
            if effect and work is function:
                yield Invoke(log_.finish, (key, result))
            return result
        except Exception as error:  # noqa: BLE001 - whatever a tool raises
            why = "it took too long" if isinstance(error, TimeoutError) else str(error)[:2_000] or type(error).__name__
        told = _failed(request, why, idempotent=idempotent, unknown=effect)
        action = request.state.action
        if not isinstance(action, Wait):
            return told
        again = yield from wait(request, action)
        if not isinstance(again, Ask):
            return told


def _failed(request: Request, why: str, *, idempotent: bool, unknown: bool) -> str:
    request.step(
        Failure(request.now(), "tool_error", chance=request.core.chance(), idempotent=idempotent, unknown=unknown)
    )
    return f"The tool failed: {why}"


def _suspend(request: Request, index: int) -> Generator[Command, Any, None]:
    """Gives a person the call to approve, and keeps what it takes to go on."""
    ticket = request.ticket_for("approval", None, request.output.tools[index])
    name = ticket.id
    if request.core.people is not None:
        try:
            left_s = ASK_S if request.left_s is None else request.left_s
            name = (yield Invoke(request.core.people, (ticket,), timeout_s=left_s)) or name
        except Exception:  # noqa: BLE001 - the ticket still resumes by its own id
            log.warning("%s: no one was told of a tool to approve", request.policy.request_class, exc_info=True)
    request.ticket = name
    request.core.suspend(name, request.suspended(index))
    request.step(Suspended(request.now()))


def _recorded(function: Callable[..., Any], finish: Callable[[str, Any], None], key: str, **given: Any) -> Any:
    """The result is in the log before anything else sees it, and also when no one waits for it any more."""
    result = function(**given)
    finish(key, result)
    return result


def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return frozenset()

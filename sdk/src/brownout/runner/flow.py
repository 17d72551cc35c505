"""How a request is carried out: it obeys the ladder's actions and yields what takes time as commands (sans I/O)."""

from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from typing import Any

from brownout.evaluation.policy import PolicyRung
from brownout.runner.attempt import attempt
from brownout.runner.cache import Cached
from brownout.runner.calls import Text, Turn
from brownout.runner.commands import Background, Command, Emit, Invoke, Sleep
from brownout.runner.drain import Again, encode
from brownout.runner.moves import (
    AnyAction,
    Ask,
    Attempt,
    Began,
    Cancelled,
    Denied,
    Finish,
    Missed,
    Serve,
    Succeeded,
    Wait,
    Waited,
)
from brownout.runner.reply import Evidence, Notice, Reply, Reset, Withdrawn
from brownout.runner.request import Request, log

LONGEST_CACHED_S = 86_400.0
ASK_S = 5.0
"""The longest wait for a cache, a queue or an outbox where the request has no deadline."""


def conduct(request: Request) -> Generator[Command, Any, Reply]:
    """Returns the reply. Whatever ends it from outside leaves a cancelled request that was recorded as one."""
    try:
        request.span = request.core.client._span(request.policy)
        if request.streams and request.options.evidence:
            yield Emit(Evidence(request.options.evidence))
        request.core.health.request(request.policy, request.began_at)
        action = request.step(Began(request.began_at))
        while not isinstance(action, Finish):
            yield from _taken_back(request, action)
            action = yield from _perform(request, action)
        yield from _taken_back(request, action)
        reply = request.finish(action)
        if request.core.judge is not None:
            request.core.judge.offer(request.core.client, reply, request.arguments, request.given)
        yield from _kept(request, reply)
        if request.streams:
            yield from _told(request, reply)
        return reply
    except BaseException:
        if request.reply is None:
            action = request.step(Cancelled(request.now()))
            if isinstance(action, Finish):
                request.finish(action)
        raise


def _perform(request: Request, action: AnyAction) -> Generator[Command, Any, AnyAction]:
    match action:
        case Attempt():
            return (yield from attempt(request, action))
        case Wait():
            return (yield from wait(request, action))
        case Serve(rung=rung):
            text = request.policy.ladder.rungs[rung].text
            request.rung_text = None if text is None else request.fill(text)
            found = request.rung_text is not None
            return request.step(Succeeded(request.now()) if found else Missed(request.now()))
        case Ask(what="tools"):
            return (yield from _tools(request))
        case Ask():
            found = yield from _ask(request, action)
            return request.step(Succeeded(request.now()) if found else Missed(request.now()))
    raise AssertionError(action)


def wait(request: Request, action: Wait) -> Generator[Command, Any, AnyAction]:
    """The token of the retry budget is taken before the wait, so that what waits is bounded too."""
    if not request.core.health.retry(request.policy, request.now()):
        return request.step(Denied(request.now()))
    if action.seconds > 0:
        yield Sleep(action.seconds)
    return request.step(Waited(request.now()))


def _taken_back(request: Request, action: AnyAction) -> Iterator[Command]:
    if action.take_back and request.streams:
        yield Emit(Reset() if action.take_back == "reset" else Withdrawn())
    if action.take_back:
        request.emitted = False


def _tools(request: Request) -> Generator[Command, Any, AnyAction]:
    """Gives the reader each tool call; `Request.tool` runs it and may move the ladder meanwhile."""
    output = request.output
    if not request.streams:
        return request.step(Missed(request.now()))
    if output.text and not request.emitted:
        yield Emit(Text(output.text))
    for index, call in enumerate(output.tools):
        if index not in request.results:
            yield Emit(call)
        if not request.goes_on:
            break
    action = request.state.action
    assert action is not None
    if not request.results or not request.goes_on:
        return request.step(Missed(request.now())) if request.goes_on else action
    results = tuple(request.results.get(index, "not run") for index in range(len(output.tools)))
    request.turns = (*request.turns, Turn(output.text, output.tools, results))
    request.results = {}
    return request.step(Succeeded(request.now())) if isinstance(action, Ask) else action


def _ask(request: Request, action: Ask) -> Generator[Command, Any, bool]:
    """Whether the rung answered."""
    assert action.rung is not None
    rung, core = request.policy.ladder.rungs[action.rung], request.core
    left_s = ASK_S if request.left_s is None else request.left_s
    try:
        match action.what:
            case "evidence":
                return _evidence(request, rung.text, rung.rung.max_sources)
            case "cache":
                return (yield from _cached(request, rung.rung.max_age_s, left_s))
            case "human" if core.people is not None:
                reason = request.state.error or ("sensitive" if request.policy.sensitive != "continue" else "no model")
                ticket = request.ticket_for(reason, rung.rung.queue)
                named = yield Invoke(core.people, (ticket,), timeout_s=left_s)
                request.ticket, request.rung_text = named or ticket.id, ""
                return True
            case "later":
                return (yield from _saved(request, rung, left_s))
    except Exception:  # noqa: BLE001 - whatever a cache, a queue or an outbox raises is a rung that does not answer
        log.warning("%s: the %s rung failed", request.policy.request_class, action.what, exc_info=True)
    return False


def _evidence(request: Request, text: str | None, most: int | None) -> bool:
    sources = (request.options.evidence or ())[:most]
    if not sources:
        return False
    listed = "\n".join(map(str, sources))
    if text is None:
        request.rung_text = listed
    elif "{sources}" in text:
        request.rung_text = request.fill(text, sources=listed)
    else:
        around = request.fill(text)
        request.rung_text = None if around is None else f"{around}\n\n{listed}"
    return request.rung_text is not None


def _cached(request: Request, max_age_s: int | None, left_s: float) -> Generator[Command, Any, bool]:
    cache, key = request.core.cache, request.cache_key()
    if cache is None or key is None:
        return False
    found = yield Invoke(cache.get, (key,), timeout_s=left_s)
    if found is None or (max_age_s is not None and request.core.wall_s() - found.at > max_age_s):
        return False
    request.rung_text, request.as_of = found.text, datetime.fromtimestamp(found.at, UTC)
    return True


def _saved(request: Request, rung: PolicyRung, left_s: float) -> Generator[Command, Any, bool]:
    outbox, text = request.core.outbox, request.fill(rung.text or "")
    if outbox is None or text is None:
        return False
    again = Again(
        request.policy.request_class, dict(request.context), request.arguments, dict(request.own),
        dict(request.options.values),
    )  # fmt: skip
    not_after = request.core.wall_s() + (rung.rung.not_after_s or 0)
    yield Invoke(outbox.put, (request.id, encode(again), not_after), timeout_s=left_s)
    request.ticket, request.rung_text = request.id, text
    return True


def _kept(request: Request, reply: Reply) -> Iterator[Command]:
    """Caches what a model answered in full, where the ladder has a rung that may serve it."""
    cache = request.core.cache
    ages = [rung.rung.max_age_s for rung in request.policy.ladder.rungs if rung.type == "cache"]
    good = reply.outcome == "answered" and reply.rung == "model" and not reply.tools and not request.turns
    if cache is not None and ages and good and (key := request.cache_key()) is not None:
        longest_s = max(age or LONGEST_CACHED_S for age in ages)
        yield Background(cache.put, (key, Cached(reply.text, request.core.wall_s()), longest_s))


def _told(request: Request, reply: Reply) -> Iterator[Command]:
    if reply.text and not request.emitted:
        yield Emit(Text(reply.text))
    if reply.notice is not None:
        yield Emit(Notice(reply.notice))

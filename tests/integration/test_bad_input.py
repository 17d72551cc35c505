"""What the API and the command line refuse, in the same words: a code, a pointer into what was sent, no revision."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import httpx
import pytest
import uvicorn
from click.testing import CliRunner

from controlplane.cli import app as command_line
from controlplane.contract.problems import REFUSED
from tests.integration.accessing import World, open_world
from tests.integration.resources import activation, in_cohort, ladder_flag, model_flag, request_class

pytestmark = pytest.mark.anyio

API = "/api/v1/environments/production"
FLAG: Mapping[str, object] = {
    "type": "boolean",
    "variants": {"on": True, "off": False},
    "off_variant": "off",
    "default": "on",
}
SPLIT = {"split": [{"variant": "on", "weight_bp": 9_000}, {"variant": "off", "weight_bp": 999}]}
NESTED = "[" * 101 + "]" * 101


class Case(NamedTuple):
    """`fault` is a code and a pointer of one of the faults; an empty code: the problem has none."""

    method: str
    path: str
    body: object
    fault: tuple[str, str]
    cli: tuple[str, ...]
    """The same on the command line, the body on standard input; empty: it cannot be said there."""
    status: int = 422
    code: str = "invalid"
    headers: Mapping[str, str] = {}

    @property
    def content(self) -> bytes:
        if self.body is None:
            return b""
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


def put(body: object, code: str, pointer: str, key: str = "a") -> Case:
    return Case("PUT", f"/flags/{key}", body, (code, pointer), ("flag", "put", key, "-"))


def put_class(body: object, code: str, pointer: str) -> Case:
    cli = ("request-class", "put", "support-reply", "-")
    return Case("PUT", "/request-classes/support-reply", body, (code, pointer), cli)


def commit(op: object, code: str, pointer: str) -> Case:
    return Case("POST", "/commits", {"ops": [op], "message": "m"}, (code, pointer), ())


def switch(body: Mapping[str, object], code: str, pointer: str, *cli: str) -> Case:
    words = ("safe-mode", "on", "contain", *cli) if cli else ()
    return Case("POST", "/safe-mode/activations", {"profile": "contain", **body}, (code, pointer), words)


def rule(cohort: str) -> Mapping[str, object]:
    return {**FLAG, "rules": [in_cohort(cohort)]}


PAST = "2026-01-01T00:00:00Z"
CASES: Mapping[str, Case] = {
    "a key in upper case": put(FLAG, "invalid_key", "/key", key="Beta"),
    "a key that is too long": put(FLAG, "invalid_key", "/key", key="a" * 101),
    "a key that starts with a dot": put(FLAG, "invalid_key", "/key", key=".beta"),
    "an unknown field": put({**FLAG, "colour": "red"}, "unknown_field", "/colour"),
    "a wrong type": put({**FLAG, "enabled": "yes"}, "wrong_type", "/enabled"),
    "a missing field": put({}, "missing_field", "/type"),
    "a value of another type": put({**FLAG, "variants": {"on": 1, "off": False}}, "wrong_type", "/variants/on"),
    "a variant that is not there": put({**FLAG, "default": "maybe"}, "unknown_variant", "/default"),
    "a split that is not whole": put({**FLAG, "default": SPLIT}, "split_sum", "/default/split"),
    "a dangling reference": put(rule("nobody"), "unknown_reference", "/rules/0/if/0/values/0"),
    "a ladder naming a missing target": put_class(
        request_class("support-reply", model="route", ladder="ladder")[2], "missing_target", "/ladder"
    ),
    "a flag of the wrong type for its class": put_class(
        request_class("support-reply", model="ladder")[2], "wrong_reference_type", "/model"
    ),
    "more than 1 MB": put({**FLAG, "description": "x" * 1_000_001}, "too_large", ""),
    "101 levels": put(f'{{"schema":{NESTED}}}', "too_deep", "/schema" + "/0" * 99),
    "NaN": put('{"variants": {"on": NaN}}', "not_finite", "/variants/on"),
    "duplicate keys": put('{"type": "boolean", "type": "string"}', "duplicate_key", "/type"),
    "what is no JSON": put("{", "invalid_json", ""),
    "deleting what is named": Case(
        "DELETE", "/cohorts/beta", None, ("unknown_reference", "/flag/named/rules/0/if/0/values/0"),
        ("cohort", "delete", "beta"),
    ),
    "deleting what is not there": Case(
        "DELETE", "/flags/nope", None, ("", ""), ("flag", "delete", "nope"), 404, "not_found"
    ),
    "a stale revision": Case(
        "PUT", "/flags/a", FLAG, ("", ""), ("flag", "put", "a", "-", "--if-revision", "1"), 412, "stale_revision",
        {"If-Match": '"1"'},
    ),
    "a message beyond measure": Case(
        "PUT", "/flags/a?message=" + "m" * 2_001, FLAG, ("invalid_parameter", "/message"),
        ("flag", "put", "a", "-", "-m", "m" * 2_001),
    ),
    "safe mode without a reason": switch({"for_s": 60}, "required", "/reason", "--for", "1m"),
    "safe mode with a blank reason": switch(
        {"for_s": 60, "reason": " "}, "required", "/reason", "--for", "1m", "-r", " "
    ),
    "safe mode for no time": switch({"for_s": 0, "reason": "x"}, "invalid_value", "/for_s", "--for", "0s", "-r", "x"),
    "safe mode without an expiry": switch({"reason": "x"}, "required", "/expires_at"),
    "safe mode with two": switch({"reason": "x", "for_s": 60, "expires_at": PAST}, "required", "/expires_at"),
    "safe mode that has expired": switch({"reason": "x", "expires_at": PAST}, "expired", "/expires_at"),
    "safe mode by an unknown profile": Case(
        "POST", "/safe-mode/activations", {"profile": "nope", "reason": "x", "for_s": 60},
        ("unknown_reference", "/profile"), ("safe-mode", "on", "nope", "--for", "1m", "-r", "x"),
    ),
    "safe mode for an unknown cohort": switch(
        {"reason": "x", "for_s": 60, "scope": {"cohorts": ["nope"]}}, "unknown_reference", "/scope/cohorts/0",
        "--for", "1m", "-r", "x", "--cohort", "nope",
    ),
    "safe mode for a number in quotes": switch({"for_s": "60", "reason": "x"}, "wrong_type", "/for_s"),
    "safe mode with an unknown field": switch({"for_s": 60, "reason": "x", "bogus": 1}, "unknown_field", "/bogus"),
    "safe mode with a NUL": switch({"for_s": 60, "reason": "x\0"}, "invalid_value", "/reason"),
    "a reason beyond measure": switch({"for_s": 60, "reason": "x" * 2_001}, "too_long", "/reason", "--for", "1m",
                                      "-r", "x" * 2_001),
    "a lift with a NUL": Case(
        "POST", "/safe-mode/activations/any/lift", {"reason": "x\0"}, ("invalid_value", "/reason"), ()
    ),
    "an evaluation at a revision in quotes": Case(
        "POST", "/evaluate", {"flag": "named", "revision": "1"}, ("wrong_type", "/revision"), ()
    ),
    "a restore of an unknown kind": Case(
        "POST", "/history/1/restore", {"refs": [{"kind": "gadget", "key": "a"}]}, ("unknown_kind", "/refs/0/kind"),
        ("history", "restore", "1", "--only", "gadget/a"),
    ),
    "a restore of safe mode": Case(
        "POST", "/history/1/restore", {"refs": [{"kind": "safe_mode_activation", "key": "a"}]},
        ("invalid_value", "/refs/0/kind"), ("history", "restore", "1", "--only", "safe_mode_activation/a"),
    ),
    "an idempotency key beyond measure": Case(
        "PUT", "/flags/a", FLAG, ("invalid_header", "/Idempotency-Key"), (), headers={"Idempotency-Key": "k" * 201}
    ),
    "a commit without operations": Case("POST", "/commits", {"message": "m"}, ("missing_field", "/ops"), ()),
    "a commit without a message": Case(
        "POST", "/commits", {"message": " ", "ops": [{"op": "del", "kind": "flag", "key": "named"}]},
        ("required", "/message"), (),
    ),
    "a commit of an unknown kind": commit(
        {"op": "put", "kind": "gadget", "key": "a", "spec": {}}, "unknown_kind", "/ops/0/kind"
    ),
    "a commit of a bad key": commit(
        {"op": "put", "kind": "flag", "key": "A", "spec": FLAG}, "invalid_key", "/ops/0/key"
    ),
    "a commit of a bad spec": commit(
        {"op": "put", "kind": "flag", "key": "a", "spec": {**FLAG, "enabled": 1}}, "wrong_type", "/ops/0/spec/enabled"
    ),
    "a commit of what no resource allows": commit(
        {"op": "put", "kind": "flag", "key": "a", "spec": rule("nobody")}, "unknown_reference",
        "/ops/0/spec/rules/0/if/0/values/0",
    ),
    "a commit of an unknown operation": commit(
        {"op": "patch", "kind": "flag", "key": "a", "spec": FLAG}, "invalid_value", "/ops/0/op"
    ),
    "a commit of expired safe mode": commit(
        {"op": "put", "kind": "safe_mode_activation", "key": "a",
         "spec": activation("a", "contain", expires_at="2026-01-02T00:00:00Z")[2]},
        "expired", "/ops/0/spec/expires_at",
    ),
    "an import of an unknown kind": Case(
        "POST", "/import", {"resources": {"gadget": {}}}, ("unknown_kind", "/resources/gadget"), ("import", "-")
    ),
    "an import of a bad spec": Case(
        "POST", "/import", {"resources": {"flag": {"a": {**FLAG, "enabled": 1}}}},
        ("wrong_type", "/resources/flag/a/enabled"), ("import", "-"),
    ),
    "an import of a bad key": Case(
        "POST", "/import", {"resources": {"flag": {"A": FLAG}}}, ("invalid_key", "/resources/flag/A"), ("import", "-")
    ),
}  # fmt: skip

BEFORE = [
    {"op": "put", "kind": kind, "key": key, "spec": spec}
    for kind, key, spec in (
        ("cohort", "beta", {}),
        ("flag", "named", rule("beta")),
        model_flag("route", "small"),
        ladder_flag("ladder", "huge"),
    )
]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client(await world.token({"*": ["admin"]})) as client:
        made = await client.post(f"{API}/commits", json={"ops": BEFORE, "message": "before"})
        assert made.status_code == 201, made.text
        yield client


@pytest.fixture
async def url(world: World) -> AsyncIterator[str]:
    """Where the command line finds the same control plane."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(world.app, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving


async def head(api: httpx.AsyncClient) -> int:
    return int((await api.get(API)).json()["revision"])


async def test_the_api_refuses(api: httpx.AsyncClient) -> None:
    wrong = []
    for what, case in CASES.items():
        headers = {"Content-Type": "application/json", **case.headers}
        response = await api.request(case.method, API + case.path, content=case.content, headers=headers)
        problem = response.json()
        if response.headers["Content-Type"] != "application/problem+json" or response.status_code != case.status:
            wrong.append(f"{what}: {response.status_code} {problem}")
        wrong += unlike(what, case, problem)
    assert wrong == []
    assert await head(api) == 2


async def test_the_command_line_refuses(api: httpx.AsyncClient, url: str) -> None:
    token = api.headers["Authorization"].removeprefix("Bearer ")
    wrong, asked = [], 0
    for what, case in CASES.items():
        if not case.cli:
            continue
        words = [*case.cli, "--json", "--url", url, "--token", token]
        done = await asyncio.to_thread(CliRunner().invoke, command_line, words, input=case.content)
        if done.exit_code != REFUSED:
            wrong.append(f"{what}: {done.exit_code} {done.stderr}")
            continue
        wrong += unlike(what, case, json.loads(done.stderr))
        asked += 1
    assert wrong == []
    assert asked > 25
    assert await head(api) == 2


@pytest.mark.parametrize(
    ("what", "lines"),
    [
        ("a variant that is not there", ["✗ /default: "]),
        ("more than 1 MB", ["✗ 1,000,"]),
        ("safe mode without a reason", ["✗ /reason: "]),
        ("safe mode by an unknown profile", ["✗ /profile: "]),
        ("a stale revision", ["✗ "]),
        (
            "several at once",
            ["✗ The input is not acceptable", "  /default: ", "  /off_variant: ", "  /type: ", "  /variants: "],
        ),
    ],
)
async def test_people_read_each_fault_once(api: httpx.AsyncClient, url: str, what: str, lines: list[str]) -> None:
    case = CASES.get(what) or put({}, "", "")
    words = [*case.cli, "--url", url, "--token", api.headers["Authorization"].removeprefix("Bearer ")]
    done = await asyncio.to_thread(CliRunner().invoke, command_line, words, input=case.content)
    first, *others = done.stderr.splitlines()
    assert [line[: len(start)] for line, start in zip((first, *sorted(others)), lines, strict=True)] == lines


def unlike(what: str, case: Case, problem: dict[str, Any]) -> list[str]:
    found = [(fault["code"], fault["pointer"]) for fault in problem.get("faults", ())] or [("", "")]
    return [] if problem["code"] == case.code and case.fault in found else [f"{what}: {problem['code']} {found}"]

"""The JSON API over configuration: what it does, and how it refuses."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from controlplane.kit.strict_yaml import dump_yaml
from tests.integration.accessing import World, open_world

pytestmark = pytest.mark.anyio

FLAG = {
    "type": "boolean",
    "variants": {"on": True, "off": False},
    "off_variant": "off",
    "default": "on",
    "description": "Looks things up.",
    "tags": ["search"],
}
API = "/api/v1/environments/production"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as opened:
        yield opened


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Sends as an admin."""
    async with world.client(await world.token({"*": ["admin"]})) as client:
        yield client


async def head(api: httpx.AsyncClient) -> int:
    return int((await api.get(API)).json()["revision"])


async def test_put_get_list_delete(api: httpx.AsyncClient) -> None:
    made = await api.put(f"{API}/flags/web-search", json=FLAG, params={"message": "first"})
    assert made.status_code == 200
    assert made.json()["revision"] == 2
    assert made.headers["ETag"] == '"2"'
    assert made.json()["effective"]
    found = (await api.get(f"{API}/flags/web-search")).json()
    assert found["spec"]["default"] == "on"
    assert found["revision"] == 2
    for search, keys in (("looks", ["web-search"]), ("nothing", [])):
        page = (await api.get(f"{API}/flags", params={"search": search})).json()
        assert [item["key"] for item in page["items"]] == keys
    assert (await api.delete(f"{API}/flags/web-search")).json()["revision"] == 3
    gone = await api.get(f"{API}/flags/web-search")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


async def test_a_read_spec_has_its_defaults_and_goes_back_as_it_is(api: httpx.AsyncClient) -> None:
    await api.put(
        f"{API}/flags/f", json={"type": "boolean", "variants": {"a": True}, "off_variant": "a", "default": "a"}
    )
    found = (await api.get(f"{API}/flags/f")).json()["spec"]
    expected = {"type": "boolean", "variants": {"a": True}, "off_variant": "a", "default": "a", "enabled": True}
    assert found == {**expected, "rules": [], "description": "", "owner": "", "tags": []}
    assert (await api.get(f"{API}/flags")).json()["items"][0]["spec"] == found
    assert (await api.put(f"{API}/flags/f", json=found)).json()["unchanged"] is True
    await api.put(f"{API}/safe-mode-profiles/gentle", json={"max_attempts": 1})
    profile = (await api.get(f"{API}/safe-mode-profiles/gentle")).json()["spec"]
    assert (profile["exclude_tools"], profile["shed_bp"], profile["sensitive"]) == ([], {}, "continue")
    assert "banner" not in profile


async def test_as_deep_as_a_spec_may_be_it_comes_back_by_commit_and_import(api: httpx.AsyncClient) -> None:
    spec = '{"type": "object", "variants": {"a": {"x": %s}}, "off_variant": "a", "default": "a"}'
    deepest, too_deep = (spec % ("[" * n + "]" * n) for n in (97, 98))
    put = '{"message": "m", "ops": [{"op": "put", "kind": "flag", "key": "%s", "spec": %s}]}'
    assert (await api.put(f"{API}/flags/a", content=deepest)).status_code == 200
    assert (await api.post(f"{API}/commits", content=put % ("b", deepest))).status_code == 201
    for form in ("json", "yaml"):
        document = (await api.get(f"{API}/export", params={"format": form})).content
        headers = {"Content-Type": f"application/{form}"}
        assert (await api.post(f"{API}/import", content=document, headers=headers)).status_code == 200
    refused = await api.post(f"{API}/commits", content=put % ("b", too_deep))
    (fault,) = refused.json()["faults"]
    assert (refused.status_code, fault["code"]) == (422, "too_deep")
    assert fault["pointer"].startswith("/ops/0/spec/variants/a/x/0/")


async def test_pages_by_key(api: httpx.AsyncClient) -> None:
    ops = [{"op": "put", "kind": "flag", "key": f"f{i}", "spec": FLAG} for i in range(5)]
    assert (await api.post(f"{API}/commits", json={"ops": ops, "message": "five"})).status_code == 201
    keys: list[str] = []
    after = ""
    while True:
        page = (await api.get(f"{API}/flags", params={"limit": 2, "after": after})).json()
        keys += [item["key"] for item in page["items"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert keys == ["f0", "f1", "f2", "f3", "f4"]


async def test_a_stale_edit_is_refused_with_both_sides(api: httpx.AsyncClient) -> None:
    await api.put(f"{API}/flags/web-search", json=FLAG)
    read = (await api.get(f"{API}/flags/web-search")).headers["ETag"]
    await api.put(f"{API}/flags/web-search", json={**FLAG, "enabled": False})
    mine = await api.put(f"{API}/flags/web-search", json={**FLAG, "default": "off"}, headers={"If-Match": read})
    problem = mine.json()
    assert (mine.status_code, problem["code"]) == (412, "stale_revision")
    assert problem["conflict"]["theirs"][0]["after"]["enabled"] is False
    assert problem["conflict"]["mine"][0]["after"]["default"] == "off"
    assert await head(api) == 3


async def test_an_idempotency_key_answers_twice_and_serves_one_request(api: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await api.put(f"{API}/flags/web-search", json=FLAG, headers=headers)
    again = await api.put(f"{API}/flags/web-search", json=FLAG, headers=headers)
    other = await api.put(f"{API}/flags/other", json=FLAG, headers=headers)
    assert first.json()["revision"] == again.json()["revision"] == 2
    assert again.json()["replayed"] is True
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


async def test_preview_says_what_a_commit_would_do_and_writes_nothing(api: httpx.AsyncClient) -> None:
    ops = [{"op": "put", "kind": "flag", "key": "new", "spec": FLAG}]
    preview = (await api.post(f"{API}/commits/preview", json={"ops": ops, "message": "x"})).json()
    assert preview["faults"] == []
    assert preview["changes"][0]["before"] is None
    broken = [{"op": "put", "kind": "flag", "key": "new", "spec": {**FLAG, "default": "maybe"}}]
    preview = (await api.post(f"{API}/commits/preview", json={"ops": broken, "message": "x"})).json()
    assert preview["faults"][0]["pointer"] == "/ops/0/spec/default"
    assert await head(api) == 1


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


BAD_SPECS = [
    (json.dumps({**FLAG, "colour": "red"}), "unknown_field", "/colour"),
    (json.dumps({**FLAG, "enabled": "yes"}), "wrong_type", "/enabled"),
    (json.dumps({**FLAG, "default": "maybe"}), "unknown_variant", "/default"),
    (
        json.dumps({**FLAG, "default": {"split": [{"variant": "on", "weight_bp": 9999}]}}),
        "split_sum",
        "/default/split",
    ),
    (
        json.dumps({**FLAG, "rules": [{"id": "r", "if": [{"op": "in_cohort", "values": ["nope"]}], "serve": "on"}]}),
        "unknown_reference",
        "/rules/0/if/0/values/0",
    ),
    (json.dumps(FLAG)[:-1] + ', "type": "string"}', "duplicate_key", "/type"),
    (json.dumps({**FLAG, "variants": {"on": 1}}).replace("1}", "NaN}"), "not_finite", "/variants/on"),
    (f'{{"a": {deep(101)}}}', "too_deep", None),
    ("{", "invalid_json", ""),
]


@pytest.mark.parametrize(("body", "code", "pointer"), BAD_SPECS, ids=[case[1] for case in BAD_SPECS])
async def test_bad_specs_are_refused_and_use_no_revision(
    api: httpx.AsyncClient, body: str, code: str, pointer: str | None
) -> None:
    response = await api.put(f"{API}/flags/f", content=body, headers={"Content-Type": "application/json"})
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, problem["code"]) == (422, "invalid")
    assert code in [fault["code"] for fault in problem["faults"]], problem
    if pointer is not None:
        assert pointer in [fault["pointer"] for fault in problem["faults"]], problem
    assert await head(api) == 1


@pytest.mark.parametrize(
    ("op", "code"),
    [
        ({"op": "put", "kind": "nonsense", "key": "a", "spec": {}}, "unknown_kind"),
        ({"op": "put", "kind": "flag", "key": "Not A Key", "spec": FLAG}, "invalid_key"),
        ({"op": "put", "kind": "flag", "key": "a"}, "invalid_operation"),
        ({"op": "del", "kind": "flag", "key": "not-there"}, "not_found"),
    ],
)
async def test_bad_operations_are_refused(api: httpx.AsyncClient, op: dict[str, object], code: str) -> None:
    response = await api.post(f"{API}/commits", json={"ops": [op], "message": "x"})
    assert response.status_code == 422
    assert code in [fault["code"] for fault in response.json()["faults"]]
    assert await head(api) == 1


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
async def test_strictness_does_not_depend_on_the_content_type(api: httpx.AsyncClient, kind: str) -> None:
    body = b'{"ops": [], "ops": [], "message": "x"}'
    response = await api.post(f"{API}/commits", content=body, headers={"Content-Type": kind} if kind else {})
    assert response.status_code == 422
    assert response.json()["faults"][0]["code"] == "duplicate_key"


async def test_unknown_fields_of_a_commit_are_refused(api: httpx.AsyncClient) -> None:
    response = await api.post(f"{API}/commits", json={"ops": [], "message": "x", "force": True})
    assert (response.status_code, response.json()["code"]) == (422, "invalid")


async def test_too_large_bodies_are_refused(api: httpx.AsyncClient) -> None:
    spec = {**FLAG, "description": "x" * 1_600_000}
    response = await api.put(f"{API}/flags/f", json=spec)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert response.json()["detail"] == "the body is larger than 1,500,000 bytes"
    assert response.json()["faults"][0]["code"] == "too_large"
    spec = {**FLAG, "description": "x" * 1_100_000}
    response = await api.put(f"{API}/flags/f", json=spec)
    assert response.status_code == 422
    assert response.json()["faults"][0]["code"] == "too_large"


async def test_an_import_names_a_resource_once(api: httpx.AsyncClient) -> None:
    twice = f'{{"resources":{{"flag":{{"a":{json.dumps(FLAG)},"a":{json.dumps(FLAG)}}}}}}}'
    response = await api.post(f"{API}/import", content=twice, headers={"Content-Type": "text/plain"})
    assert response.status_code == 422
    assert [(f["code"], f["pointer"]) for f in response.json()["faults"]] == [("duplicate_key", "/resources/flag/a")]
    assert await head(api) == 1


async def test_yaml_that_would_end_a_parser_is_refused(api: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/yaml"}
    response = await api.post(f"{API}/import", content=b"[" * 1_000_000, headers=headers)
    assert (response.status_code, response.json()["faults"][0]["code"]) == (422, "too_deep")
    assert await head(api) == 1


async def test_large_headers_are_refused(api: httpx.AsyncClient) -> None:
    response = await api.get(API, headers={"X-Much": "x" * 40_000})
    assert (response.status_code, response.json()["code"]) == (431, "too_large")


@pytest.mark.parametrize("value", ["912", '"r912"', "nonsense"])
async def test_an_if_match_that_is_not_ours_is_refused(api: httpx.AsyncClient, value: str) -> None:
    response = await api.put(f"{API}/flags/f", json=FLAG, headers={"If-Match": value})
    assert response.status_code == 422
    assert response.json()["faults"][0]["pointer"] == "/If-Match"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/environments/nowhere/flags", 404, "not_found"),
        ("GET", f"{API}/nonsense", 404, "not_found"),
        ("PATCH", f"{API}/flags/f", 405, "method_not_allowed"),
        ("GET", f"{API}/flags?limit=0", 422, "invalid"),
        ("GET", f"{API}/flags?limit=x", 422, "invalid"),
        ("GET", f"{API}/history/99", 404, "not_found"),
        ("GET", f"{API}/history/{10**30}", 404, "not_found"),
        ("GET", f"{API}/flags/a%00b", 422, "invalid"),
        ("GET", f"{API}/flags?search=a%00b", 422, "invalid"),
        ("GET", f"{API}/state?revision=99", 404, "not_found"),
        ("GET", f"{API}/history/diff?from=0&to=99", 404, "not_found"),
    ],
)
async def test_refusals_have_codes(api: httpx.AsyncClient, method: str, path: str, status: int, code: str) -> None:
    response = await api.request(method, path)
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_what_is_named_cannot_be_deleted(api: httpx.AsyncClient) -> None:
    await api.put(f"{API}/cohorts/beta", json={"include": ["u-1"]})
    rule = {"id": "r", "if": [{"op": "in_cohort", "values": ["beta"]}], "serve": "off"}
    await api.put(f"{API}/flags/f", json={**FLAG, "rules": [rule]})
    assert (await api.get(f"{API}/cohorts/beta/dependants")).json()["items"] == [{"kind": "flag", "key": "f"}]
    refused = await api.delete(f"{API}/cohorts/beta")
    assert refused.status_code == 422
    assert refused.json()["faults"][0]["code"] == "unknown_reference"


async def test_history_diff_restore_verify(api: httpx.AsyncClient) -> None:
    await api.put(f"{API}/flags/f", json=FLAG)
    await api.put(f"{API}/flags/f", json={**FLAG, "enabled": False})
    diff = (await api.get(f"{API}/history/diff", params={"from": 2, "to": 3})).json()
    assert [(r["kind"], r["key"]) for r in diff["resources"]] == [("flag", "f")]
    assert [field["pointer"] for field in diff["resources"][0]["fields"]] == ["/enabled"]
    restored = await api.post(f"{API}/history/2/restore", json={"message": "back"})
    assert restored.json()["revision"] == 4
    assert (await api.get(f"{API}/flags/f")).json()["spec"]["enabled"] is True
    nothing = await api.post(f"{API}/history/2/restore", json={})
    assert nothing.status_code == 409
    page = (await api.get(f"{API}/history", params={"limit": 2})).json()
    assert [item["revision"] for item in page["items"]] == [4, 3]
    rest = (await api.get(f"{API}/history", params={"limit": 2, "before": page["next"]})).json()
    assert [item["revision"] for item in rest["items"]] == [2, 1]
    assert (await api.get(f"{API}/history/verify")).json() == {"revisions": 4, "broken": None}
    then = (await api.get(f"{API}/state", params={"revision": 3})).json()
    assert then["resources"]["flag"]["f"]["enabled"] is False


async def test_a_repeated_restore_answers_as_the_first_did(api: httpx.AsyncClient) -> None:
    await api.put(f"{API}/flags/f", json=FLAG)
    await api.put(f"{API}/flags/f", json={**FLAG, "enabled": False})
    headers = {"Idempotency-Key": "back-once"}
    first = (await api.post(f"{API}/history/2/restore", json={}, headers=headers)).json()
    again = (await api.post(f"{API}/history/2/restore", json={}, headers=headers)).json()
    assert (again["revision"], again["replayed"]) == (first["revision"], True)
    await api.put(f"{API}/flags/f", json={**FLAG, "enabled": False})
    later = (await api.post(f"{API}/history/2/restore", json={}, headers=headers)).json()
    assert (later["revision"], later["replayed"]) == (first["revision"], True)
    other = await api.post(f"{API}/history/1/restore", json={}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    nothing = await api.post(f"{API}/history/5/restore", json={}, headers={"Idempotency-Key": "another"})
    assert (nothing.status_code, nothing.json()["code"]) == (409, "conflict")


async def test_restoring_leaves_safe_mode_as_it_is(api: httpx.AsyncClient) -> None:
    await api.put(f"{API}/flags/f", json=FLAG)
    body = {"profile": "contain", "reason": "x", "for_s": 600}
    on = (await api.post(f"{API}/safe-mode/activations", json=body)).json()
    await api.post(f"{API}/history/1/restore", json={})
    assert [a["key"] for a in (await api.get(f"{API}/safe-mode")).json()["active"]] == [on["key"]]
    await api.post(f"{API}/safe-mode/activations/{on['key']}/lift", json={})
    await api.post(f"{API}/history/3/restore", json={})
    assert (await api.get(f"{API}/safe-mode")).json()["on"] is False
    refs = [{"kind": "safe_mode_activation", "key": on["key"]}]
    refused = await api.post(f"{API}/history/3/restore", json={"refs": refs})
    assert refused.status_code == 422


@pytest.mark.parametrize("form", ["json", "yaml"])
async def test_export_and_import_into_another_environment(api: httpx.AsyncClient, form: str) -> None:
    await api.put(f"{API}/flags/f", json=FLAG)
    exported = await api.get(f"{API}/export", params={"format": form})
    headers = {"Content-Type": f"application/{form}"}
    staging = "/api/v1/environments/staging/import"
    dry = (await api.post(staging, content=exported.content, params={"dry_run": True}, headers=headers)).json()
    assert (dry["applied"], dry["revision"], [c["key"] for c in dry["changes"]]) == (False, 1, ["f"])
    done = (await api.post(staging, content=exported.content, headers=headers)).json()
    assert (done["applied"], done["revision"]) == (True, 2)
    again = (await api.post(staging, content=exported.content, headers=headers)).json()
    assert (again["applied"], again["revision"]) == (False, 2)
    assert (await api.get("/api/v1/environments/staging/flags/f")).json()["spec"]["type"] == "boolean"


async def test_import_prunes_only_when_asked(api: httpx.AsyncClient) -> None:
    await api.put(f"{API}/flags/f", json=FLAG)
    empty = {"format": "brownout/1", "resources": {}}
    assert (await api.post(f"{API}/import", json=empty)).json()["applied"] is False
    pruned = (await api.post(f"{API}/import", json=empty, params={"prune": True})).json()
    assert {change["key"] for change in pruned["changes"]} >= {"f", "contain"}
    assert (await api.get(f"{API}/state")).json()["resources"] == {}


@pytest.mark.parametrize(
    ("content", "form", "code"),
    [
        (b"resources: {flag: {f: {}, f: {}}}", "yaml", "duplicate_key"),
        (b"resources: &a {}\nformat: *a", "yaml", "invalid_yaml"),
        (b'{"resources": {}, "resources": {}}', "json", "duplicate_key"),
        (b'{"resources": {"safe_mode_activation": {}}}', "json", "unknown_kind"),
        (b'{"resources": {"flag": {"f": {}}}}', "json", "missing_field"),
        (b'{"something": 1}', "json", "invalid_document"),
        (b'{"format": "brownout/2", "resources": {}}', "json", "invalid_document"),
    ],
)
async def test_bad_documents_are_refused(api: httpx.AsyncClient, content: bytes, form: str, code: str) -> None:
    response = await api.post(f"{API}/import", content=content, headers={"Content-Type": f"application/{form}"})
    assert response.status_code == 422
    assert code in [fault["code"] for fault in response.json()["faults"]], response.text
    assert await head(api) == 1


async def test_faults_of_an_import_point_into_the_document(api: httpx.AsyncClient) -> None:
    document = {"resources": {"flag": {"f": {**FLAG, "default": "maybe"}}}}
    headers = {"Content-Type": "application/yaml"}
    response = await api.post(f"{API}/import", content=dump_yaml(document), headers=headers)
    assert response.json()["faults"][0]["pointer"] == "/resources/flag/f/default"


async def test_evaluate_explain_and_policy_now_and_then(api: httpx.AsyncClient) -> None:
    rule = {"id": "pro", "if": [{"attribute": "plan", "op": "in", "values": ["pro"]}], "serve": "on"}
    await api.put(f"{API}/flags/f", json={**FLAG, "default": "off", "rules": [rule]})
    await api.put(f"{API}/flags/f", json={**FLAG, "default": "off"})
    asked = {"flag": "f", "context": {"plan": "pro"}}
    now = (await api.post(f"{API}/evaluate", json=asked)).json()
    then = (await api.post(f"{API}/evaluate", json={**asked, "revision": 2})).json()
    assert (now["value"], now["reason"]) == (False, "STATIC")
    assert (then["value"], then["rule"], then["revision"]) == (True, "pro", 2)
    explained = (await api.post(f"{API}/explain", json={**asked, "revision": 2})).json()
    assert explained["rules"][0]["clauses"][0]["result"] == "held"
    missing = (await api.post(f"{API}/evaluate", json={"flag": "nope"})).json()
    assert (missing["value"], missing["error_code"]) == (None, "FLAG_NOT_FOUND")
    assert (await api.post(f"{API}/policy", json={"request_class": "nope"})).status_code == 404


async def test_what_counts_as_production_is_said(api: httpx.AsyncClient) -> None:
    made = await api.post("/api/v1/environments", json={"key": "prod-eu"})
    assert made.json()["production"] is False
    assert (await api.get("/api/v1/environments/production")).json()["production"] is True
    changed = await api.patch("/api/v1/environments/prod-eu", json={"production": True})
    assert (changed.status_code, changed.json()["production"], changed.json()["revision"]) == (200, True, 1)
    assert (await api.get("/api/v1/environments/prod-eu")).json()["production"] is True
    audit = (await api.get("/api/v1/audit", params={"environment": "prod-eu"})).json()["items"]
    assert {"production": "yes"} in [line["entry"]["detail"] for line in audit]
    assert (await api.patch("/api/v1/environments/nowhere", json={"production": True})).status_code == 404


async def test_a_new_environment_has_the_standard_profiles(api: httpx.AsyncClient) -> None:
    made = await api.post("/api/v1/environments", json={"key": "canary"})
    assert (made.status_code, made.json()["revision"]) == (201, 1)
    profiles = (await api.get("/api/v1/environments/canary/safe-mode-profiles")).json()["items"]
    assert [profile["key"] for profile in profiles] == ["contain", "humans-only", "shed-load"]
    assert (await api.post("/api/v1/environments", json={"key": "canary"})).status_code == 409
    assert (await api.post("/api/v1/environments", json={"key": "Not OK"})).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/commits", 201),
        ("POST", "/commits/preview", 200),
        ("POST", "/proposals", 201),
        ("PUT", "/proposals/1", 200),
        ("PUT", "/rollouts/r", 200),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", ""])
async def test_a_spec_within_a_body_is_a_plain_object(
    api: httpx.AsyncClient, method: str, path: str, status: int, content_type: str
) -> None:
    body: dict[str, object] = {"ops": [{"op": "put", "kind": "flag", "key": "f", "spec": FLAG}], "message": "x"}
    if path == "/proposals/1":
        assert (await api.post(f"{API}/proposals", json=body)).status_code == 201
        body["edition"] = 1
    if path == "/rollouts/r":
        assert (await api.post(f"{API}/commits", json=body)).status_code == 201
        spec = {"flag": "f", "treatment": "on", "control": "off", "stages": [{"weight_bp": 1_000}]}
        body = {"spec": spec, "reason": "x"}
    headers = {"Content-Type": content_type} if content_type else {}
    response = await api.request(method, f"{API}{path}", content=json.dumps(body), headers=headers)
    assert response.status_code == status, response.text

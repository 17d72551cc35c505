"""Rollouts over the living demo: the real engine, SDKs that report as they do anywhere, nobody who helps."""

import copy
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controlplane.demo.rollout import KEY as FIRST
from controlplane.demo.rollout import SPEC
from tests.e2e.brownout_up import BrownoutUp

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(300)]

PROMOTED_S = 200
"""Three stages of some 20 s (what a service counted arrives within 12 s), and a busy machine."""

COUNTED_S = 150
"""The summary speaks of whole minutes."""

GOOD: dict[str, Any] = {
    **{name: SPEC[name] for name in ("flag", "control", "treatment", "guardrails", "alpha")},
    "stages": [
        {"cohort": "beta", "weight_bp": 5_000, "min_duration_s": 5, "min_units": 30},
        {"weight_bp": 2_500, "min_duration_s": 5, "min_units": 200},
        {"weight_bp": 10_000, "min_duration_s": 5, "min_units": 200},
    ],
    "gates": [{"measure": "retrieval_miss", "no_worse_than": 5.0}, {"measure": "quality", "max_drop": 0.03}],
}
UNUSED: dict[str, Any] = {
    "flag": "suggested-replies", "control": "few", "treatment": "many",
    "stages": [{"weight_bp": 5_000, "min_units": 1}, {"weight_bp": 10_000}],
}  # fmt: skip


@pytest.fixture(scope="module")
def up() -> Iterator[BrownoutUp]:
    folder = Path(tempfile.mkdtemp(prefix="brownout-e2e-demo-"))
    folder.chmod(0o755)
    with BrownoutUp(folder / "data", "--demo", "--demo-speed", "20") as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def test_a_good_model_is_promoted_to_everyone_and_what_nobody_uses_stays(up: BrownoutUp) -> None:
    up.json("rollout", "abort", FIRST, "-m", "a faster one comes")
    up.json("rollout", "create", "good", "-", "--start", "-m", "it is good", stdin=msgspec.json.encode(GOOD))
    up.json("rollout", "create", "unused", "-", "--start", "-m", "nobody asks", stdin=msgspec.json.encode(UNUSED))

    ended = _ended(up, "good")

    assert ended["summary"]["state"] == "completed", ended["next"]
    assert [stage["state"] for stage in ended["stages"]] == ["passed"] * 3
    commits = up.json("history", "list", "--author", "rollout:good")["items"]
    assert [commit["message"].split(":")[0] for commit in reversed(commits)] == [
        "stage 2 of 3", "stage 3 of 3", "completed",
    ]  # fmt: skip
    shown = up.json("explain", "support-model", "targeting_key=u-1", "plan=free")
    assert shown["decision"]["variant"] == "sonnet-5"
    unused = up.json("rollout", "show", "unused")
    assert (unused["summary"]["state"], unused["summary"]["stage"]) == ("running", 0)
    assert unused["next"]["why"].startswith("0 of 1 units")
    assert up.json("history", "list", "--author", "rollout:unused")["items"] == []


def test_every_request_of_the_demo_is_counted_under_its_class(up: BrownoutUp) -> None:
    deadline = time.monotonic() + COUNTED_S
    expected = {"support-reply", "support-summary", "refund-decision"}
    while not expected <= (classes := {one["request_class"] for one in up.json("signals")["classes"]}):
        assert time.monotonic() < deadline, classes
    assert classes == expected


def test_the_demo_spends_from_the_budget_that_its_services_share(up: BrownoutUp) -> None:
    """The window reacts: what is leased grows, until a commit makes the limit smaller than that."""
    deadline = time.monotonic() + COUNTED_S
    while not (used := _standard(up)["used"]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert used > 0
    before = up.json("flag", "get", "support-budget")["spec"]
    spec = copy.deepcopy(before)
    spec["variants"]["standard"]["window"]["limit"] = 20_000
    up.json("flag", "put", "support-budget", "-", "-m", "spend less", stdin=msgspec.json.encode(spec))
    deadline = time.monotonic() + COUNTED_S
    try:
        while _standard(up)["used_bp"] < 10_000:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:  # rollouts compare answers of models, and there are none beyond the limit
        up.json("flag", "put", "support-budget", "-", "-m", "as before", stdin=msgspec.json.encode(before))


def _standard(up: BrownoutUp) -> Any:
    found = up.json("budget", "status")
    assert found["counted"]
    return next(each for each in found["items"] if (each["flag"], each["variant"]) == ("support-budget", "standard"))


def _ended(up: BrownoutUp, key: str) -> Any:
    deadline = time.monotonic() + PROMOTED_S
    while (found := up.json("rollout", "show", key))["summary"]["state"] == "running":
        assert time.monotonic() < deadline, found["next"]
        time.sleep(1)
    return found

"""`brownout sidecar` beside a whole control plane: the same decisions, before and after it is killed."""

import signal
from pathlib import Path
from typing import Any

import httpx

from sdk.tests.sidecar_process import Sidecar, free_port
from tests.e2e.brownout_up import CLI, ROOT, BrownoutUp


def apart_from_fill(policy: dict[str, Any]) -> dict[str, Any]:
    """Without how the budget's window stands: each instance counts for itself."""
    return policy | {"window": None}


def test_it_decides_as_the_control_plane_does_and_outlives_it(folder: Path) -> None:
    data = folder / "data"
    address = f"127.0.0.1:{free_port()}"
    asked = {"request_class": "support-reply", "context": {"targeting_key": "u-42", "plan": "pro"}}
    command = (*CLI, "sidecar", "--data-dir", str(data))
    variables = {"BROWNOUT_DISK": str(folder / "disk"), "PYTHONPATH": str(ROOT)}
    with BrownoutUp(data) as up:
        up.load_demo_configuration()
        key = {"Authorization": f"Bearer {up.sdk_keys['production']}"}
        with Sidecar(variables, address, folder / "sidecar.log", command) as sidecar:
            on = up.json("safe-mode", "on", "contain", "--for", "1h", "--reason", "an incident")
            sidecar.waits_for(on["commit"]["revision"])
            policy = sidecar.http.post("/policy", json=asked).json()
            there = httpx.post(f"{up.target['url']}/api/v1/environments/production/policy", json=asked, headers=key)
            assert policy["window"]["flag"] == "support-budget"
            assert apart_from_fill(policy) == there.json(), "only instances count"
            assert policy["safe_mode"]["profiles"] == ["contain"]

            up.stop(signal.SIGKILL)
            assert apart_from_fill(sidecar.http.post("/policy", json=asked).json()) == apart_from_fill(policy)
            assert sidecar.http.post("/record", json={"policy": policy, "completed": True}).status_code == 204
            assert sidecar.stop() == 0
        with Sidecar(variables, address, folder / "sidecar.log", command) as again:
            assert apart_from_fill(again.http.post("/policy", json=asked).json()) == apart_from_fill(policy)
            assert again.health()["source"] == "disk"
    assert "Traceback" not in (folder / "sidecar.log").read_text()

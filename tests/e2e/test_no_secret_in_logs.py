"""Everything that `brownout up` and its servers write down during a day's work holds no secret."""

import json
import subprocess
from pathlib import Path

import httpx

from tests.e2e.brownout_up import CLI, ROOT, BrownoutUp, environment


def test_nothing_that_is_logged_opens_anything(tmp_path: Path) -> None:
    with BrownoutUp(tmp_path / "data", "--log-format", "json") as up:
        target = up.target
        bearer = {"Authorization": f"Bearer {target['token']}"}
        greeting = up.log.read_text()
        with httpx.Client(base_url=target["url"] + "/api/v1", headers=bearer) as http:
            key = http.post("/environments/production/sdk-keys", json={"name": "svc"}).json()["key"]
            invited = http.post("/people", json={"email": "m@example.com", "grants": {"*": ["admin"]}}).json()["link"]
            link = invited.partition("#")[2]
            password = "a password that nobody logs"
            http.post("/session/link", json={"link": link, "password": password, "email": "", "name": ""})
            http.post("/session", json={"email": "m@example.com", "password": password + "!"})
            http.get("/session", headers={"Authorization": f"Bearer {target['token']}x"})
            http.post(
                "/session", content=b'{"email": "' + password.encode(), headers={"Content-Type": "application/json"}
            )
        subprocess.run([*CLI, "audit", "list", "--data-dir", str(up.data_dir)], cwd=ROOT, env=environment(), check=True)
        kept = json.loads((up.data_dir / "nats-secrets.json").read_text())
        secrets = [target["token"], key.partition(".")[0], link, password, *map(str, kept.values())]
        secrets += [key.partition(".")[0] for key in up.sdk_keys.values()]
        secrets.append(json.loads((up.data_dir / "secrets.json").read_text())["secret_key"])
        secrets.append((up.data_dir / "postgres" / "password").read_text())
        logs = [up.log, *(file for file in up.data_dir.rglob("log") if file.is_file())]
    assert len(logs) >= 3
    written = "\n".join(file.read_text(errors="replace") for file in logs)
    assert "/welcome#bo_one_" in greeting  # shown on purpose, once, to whoever started it
    assert [secret[:12] for secret in secrets if secret in written] == []

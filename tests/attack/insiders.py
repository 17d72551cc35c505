"""People who attack from inside: each with a browser of their own, all through the application's own front door."""

from collections.abc import Mapping
from typing import Any

import httpx

from tests.integration.accessing import PASSWORD, ROOT, URL, World

API = f"{URL}/api/v1"
P = "production"
BOOLEAN = {"type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "default": "on"}


class Insider:
    """Somebody signed in: `api` sends with their session, as their browser does."""

    def __init__(self, browser: httpx.AsyncClient, who: Mapping[str, Any]) -> None:
        self._browser = browser
        self.id = str(who["person"])
        self.email = str(who["name"])
        self._headers = {"X-CSRF-Token": str(who["csrf"]), "Sec-Fetch-Site": "same-origin"}

    async def api(self, method: str, path: str, body: object = None) -> httpx.Response:
        content = {} if body is None else {"json": body}
        return await self._browser.request(method, API + path, headers=self._headers, **content)  # type: ignore[arg-type]

    async def page(self, path: str) -> str:
        return (await self._browser.get(URL + path)).text

    async def sign_in(self, world: World, password: str = PASSWORD) -> "Insider":
        """The same person in a new browser."""
        browser = world.client()
        entered = await browser.post(
            f"{API}/session",
            json={"email": self.email, "password": password},
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        assert entered.status_code == 201, entered.text
        return Insider(browser, entered.json())

    async def token(self, name: str = "laptop", **fields: object) -> dict[str, Any]:
        made = await self.api("POST", "/tokens", {"name": name, "sensitive": True, **fields})
        assert made.status_code == 201, made.text
        return dict(made.json())

    async def machine(self, grants: Mapping[str, list[str]], name: str = "robot") -> dict[str, Any]:
        made = await self.api("POST", "/tokens/service", {"name": name, "grants": grants, "sensitive": True})
        assert made.status_code == 201, made.text
        return dict(made.json())

    async def invite(self, email: str, grants: Mapping[str, list[str]]) -> str:
        """The link, which the inviter sees."""
        made = await self.api("POST", "/people", {"email": email, "grants": grants})
        assert made.status_code == 201, made.text
        return str(made.json()["link"])

    async def reset(self, person: str) -> str:
        made = await self.api("POST", f"/people/{person}/reset", {})
        assert made.status_code == 200, made.text
        return str(made.json()["link"])

    async def propose(self, key: str) -> dict[str, Any]:
        ops = [{"op": "put", "kind": "flag", "key": key, "spec": BOOLEAN}]
        made = await self.api("POST", f"/environments/{P}/proposals", {"message": f"add {key}", "ops": ops})
        assert made.status_code == 201, made.text
        return dict(made.json())

    async def approve(self, proposal: Mapping[str, Any]) -> dict[str, Any]:
        """The proposal, with this approval in it."""
        path = f"/environments/{P}/proposals/{proposal['id']}/approve"
        done = await self.api("POST", path, {"edition": proposal["edition"]})
        assert done.status_code == 200, done.text
        return dict(done.json())

    async def commit(self, proposal: Mapping[str, Any]) -> int:
        path = f"/environments/{P}/proposals/{proposal['id']}/commit"
        return (await self.api("POST", path, {})).status_code


async def follow(world: World, link: str, password: str = PASSWORD) -> Insider:
    """Whoever has the link is the person."""
    browser = world.client()
    entered = await browser.post(
        f"{API}/session/link",
        json={"link": link.partition("#")[2], "password": password},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert entered.status_code == 201, entered.text
    return Insider(browser, entered.json())


async def insider(world: World, name: str, grants: Mapping[str, list[str]]) -> Insider:
    """Somebody whom the operator of the control plane let in, long ago."""
    invited = await world.access.people.invite(ROOT, f"{name}@example.com", name, grants)
    return await follow(world, f"#{invited.secret}")


async def bearer(world: World, token: str, method: str, path: str, body: object = None) -> httpx.Response:
    content = {} if body is None else {"json": body}
    return await world.client(token).request(method, API + path, **content)  # type: ignore[arg-type]


async def opens(world: World, token: str) -> dict[str, list[str]] | None:
    """What a token may; None when it opens nothing."""
    found = await bearer(world, token, "GET", "/session")
    return dict(found.json()["grants"]) if found.status_code == 200 else None

"""Somebody at a browser: signs in, sets up second factors, proves who they are."""

from datetime import timedelta
from typing import Any

import httpx

from controlplane.access import totp
from tests.attack.authenticator import Authenticator
from tests.integration.accessing import PASSWORD, ROOT, URL, World

BROWSER = {"Sec-Fetch-Site": "same-origin", "Origin": URL}


class Visitor:
    """A browser of one person's. Every answer that carries one brings the token that the next request needs."""

    def __init__(self, world: World, address: str = "198.51.100.7") -> None:
        self.world = world
        self.http = world.client(address=address)
        self.csrf = ""
        self.key = b""
        """Of the authenticator app."""
        self.codes: list[str] = []

    async def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        headers = {**BROWSER, "X-CSRF-Token": self.csrf}
        answer = await self.http.request(method, f"/api/v1{path}", json=body, headers=headers)
        if answer.is_success and answer.content and "csrf" in (found := answer.json()):
            self.csrf = found["csrf"]
        return answer

    async def form(self, path: str, fields: dict[str, str]) -> httpx.Response:
        return await self.http.post(path, data={"csrf": self.csrf, **fields}, headers=BROWSER)

    async def sign_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        return await self.send("POST", "/session", {"email": email, "password": password})

    async def set_up_app(self) -> list[str]:
        """Recovery codes."""
        begun = (await self.send("POST", "/account/app")).json()
        self.key = totp_key(begun["key"])
        done = await self.send("POST", "/account/app/confirm", {"code": self.code()})
        assert done.status_code == 200, done.text
        self.codes = done.json()["codes"]
        self.next_step()
        return self.codes

    def code(self, shift: int = 0) -> str:
        """What the app shows now, or so many steps of 30 s later."""
        return totp.code_at(self.key, int(self.world.clock.now().timestamp()) // totp.STEP_S + shift)

    def next_step(self) -> None:
        self.world.clock.move(timedelta(seconds=totp.STEP_S))

    async def add_passkey(self, authenticator: Authenticator, name: str = "laptop") -> httpx.Response:
        options = (await self.send("POST", "/account/passkeys/begin")).json()["options"]
        made = {"passkey": authenticator.create(options), "name": name}
        return await self.send("POST", "/account/passkeys", made)


async def visitor(world: World, email: str, grants: dict[str, list[str]], address: str = "198.51.100.7") -> Visitor:
    """Somebody new who has just signed in."""
    await world.person(email, grants)
    made = Visitor(world, address)
    assert (await made.sign_in(email)).status_code == 201
    return made


async def person_id(world: World, email: str) -> str:
    return next(each.id for each in await world.access.people.list_people(ROOT) if each.email == email)


def totp_key(text: str) -> bytes:
    import base64

    plain = text.replace(" ", "")
    return base64.b32decode(plain + "=" * (-len(plain) % 8))

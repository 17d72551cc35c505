"""What `brownout up` hands to whoever owns its directory: a token for the CLI, an SDK key for each environment.

Kept from start to start in files that nobody else can read; made again when revoked or lost.
"""

from pathlib import Path
from typing import TypeVar

import msgspec

from brownout.wire import SdkKey
from controlplane.access.actor import ANY_ENVIRONMENT, Actor, Role
from controlplane.errors import UnauthenticatedError
from controlplane.services import Services

NAME = "local"
_T = TypeVar("_T")


class _Kept(msgspec.Struct):
    token: str = ""


async def local_token(services: Services, setup: Actor, file: Path) -> str:
    """The token in `file` if it still holds, else a new one with every role."""
    kept = _read(file, _Kept) or _Kept()
    if await _holds(services, kept.token):
        return kept.token
    made = await services.access.tokens.create_service(setup, NAME, {ANY_ENVIRONMENT: [Role.ADMIN]}, sensitive=True)
    return made.token


async def local_sdk_keys(services: Services, setup: Actor, file: Path) -> dict[str, str]:
    """An SDK key by environment: those in `file` that still hold and pin a signing key that is known, else new ones."""
    kept = _read(file, dict[str, str]) or {}
    keys: dict[str, str] = {}
    for environment in await services.store.list_environments():
        key = kept.get(environment.key, "")
        pinned = {link.kid for link in (await services.signing_keys.chain(environment.key)).links}
        if not (await _holds(services, key) and SdkKey.parse(key).kid in pinned):
            key = (await services.access.keys.create(setup, environment.key, NAME)).key
        keys[environment.key] = key
    return keys


async def _holds(services: Services, credential: str) -> bool:
    try:
        await services.access.authenticator.by_bearer(credential, "")
    except UnauthenticatedError:
        return False
    return True


def _read(file: Path, type_: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=type_)
    except (OSError, msgspec.MsgspecError):
        return None

"""The nouns and verbs of the command line, each loaded when it is used: `brownout flag list` waits for no server's code."""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

from controlplane.cli.command import Noun

MODULES = {
    "up": "servers",
    "serve": "servers",
    "migrate": "servers",
    "authd": "authd",
    "nats-config": "authd",
    "nats-cluster": "authd",
    "setup-link": "authd",
    "login": "people",
    "logout": "people",
    "watch": "watch",
    "sidecar": "sidecar",
    "explain": "explain",
    "policy": "explain",
    "export": "documents",
    "codegen": "documents",
    "import": "documents",
    "signals": "signals",
    "budget": "budgets",
    "safe-mode": "safemode",
    "env": "environments",
    "history": "history",
    "fleet": "fleet",
    "rollout": "rollouts",
    "coverage": "coverage",
    "pattern": "coverage",
    "channel": "notifications",
    "team": "notifications",
    "subscription": "notifications",
    "event": "notifications",
    "demo": "demo",
    "person": "people",
    "key": "keys",
    "token": "keys",
    "address": "addresses",
    "approval": "approvals",
    "audit": "audit",
    "secret": "secrets",
    "completion": "completion",
}
"""Noun or verb → the module with it, in the order of the help. The nouns of kinds stand in their registry."""

KINDS_MODULE, KINDS_AFTER = "resources", "env"


class Commands(MutableMapping[str, Any]):
    """What a click group takes for a dict of its commands."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}
        self._modules: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._load(MODULES.get(name, KINDS_MODULE))
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        for name in MODULES:
            yield name
            if name == KINDS_AFTER:
                yield from self._load(KINDS_MODULE)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("a command stays")

    def _load(self, name: str) -> tuple[str, ...]:
        """The module's names, once its commands are known. A module has `GROUPS`, an `app`, or `register(app)`."""
        module = import_module(f"controlplane.cli.{name}")
        found = Noun("brownout")
        if hasattr(module, "register") and name not in self._modules:
            module.register(found)
        for each in getattr(module, "GROUPS", (module.app,) if hasattr(module, "app") else ()):
            found.add_command(each)
        commands = found.commands
        self._loaded |= {each: command for each, command in commands.items() if each not in self._loaded}
        self._modules.add(name)
        return tuple(commands)

"""configcat-client with its configuration handed in as an override that lives in memory."""

import json
from functools import partial
from typing import Any

import configcatclient
from configcatclient.config import fixup_config_salt_and_segments
from configcatclient.configcatoptions import ConfigCatOptions
from configcatclient.overridedatasource import FlagOverrides, OverrideBehaviour, OverrideDataSource
from configcatclient.pollingmode import PollingMode
from configcatclient.user import User

from tests.bench.peers.workloads import COHORT, FIRST_SHARE, RULES, Ask, Context, Flag


class _Memory(OverrideDataSource):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(OverrideBehaviour.LocalOnly)
        self._config = config

    def get_overrides(self) -> dict[str, Any]:
        return self._config


class _Overrides(FlagOverrides):
    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config

    def create_data_source(self, log: object) -> OverrideDataSource:  # noqa: ARG002 - its interface
        return _Memory(self._config)


class Peer:
    distribution = "configcat-client"
    module = "configcatclient"

    def document(self, flags: list[Flag]) -> bytes:
        members = {"n": "members", "r": [{"a": "Identifier", "c": 0, "l": list(COHORT)}]}
        return json.dumps({"p": {"s": "salt"}, "s": [members], "f": {flag.key: _spec(flag) for flag in flags}}).encode()

    def load(self, document: bytes) -> None:
        config = json.loads(document)
        fixup_config_salt_and_segments(config)
        configcatclient.close_all()
        options = ConfigCatOptions(flag_overrides=_Overrides(config), polling_mode=PollingMode.manual_poll())
        self.client = configcatclient.get("configcat-sdk-1/" + "a" * 22 + "/" + "b" * 22, options)

    def subject(self, context: Context) -> User:
        return User(context["unit"], country=context["country"], custom={"plan": context["plan"]})

    def ask(self, flag: Flag, subject: User) -> Ask:
        return partial(self.client.get_value, flag.key, None, subject)

    def value(self, answer: object) -> object:
        return answer


def _spec(flag: Flag) -> dict[str, Any]:
    def one_of(attribute: str, values: tuple[str, ...]) -> dict[str, Any]:
        return {"u": {"a": attribute, "c": 0, "l": list(values)}}

    shares = [{"p": FIRST_SHARE, "v": {"s": "a"}}, {"p": 100 - FIRST_SHARE, "v": {"s": "b"}}]
    if flag.shape == "plain":
        return {"t": 0, "v": {"b": True}}
    text = {"t": 1, "v": {"s": "out" if flag.shape == "cohort" else "a"}}
    if flag.shape == "targeted":
        rules = [
            {"c": [one_of("plan", plans), one_of("Country", countries)], "s": {"v": {"s": served}}}
            for plans, countries, served in RULES
        ]
        return text | {"r": rules}
    if flag.shape == "split":
        return text | {"r": [{"c": [one_of("plan", ("free",))], "s": {"v": {"s": "a"}}}], "p": shares}
    return text | {"r": [{"c": [{"s": {"s": 0, "c": 0}}], "p": shares}]}

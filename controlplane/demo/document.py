"""The demo's configuration, as one document."""

from importlib.resources import files

import msgspec

from controlplane.access.actor import Actor
from controlplane.configuration.documents import Documents, read_yaml
from controlplane.contract.document import Document

MESSAGE = "Load the demo: a support copilot"

DEMO_PRICES = """{
  "claude-haiku-5": {"input_per_million": 1.0, "output_per_million": 5.0},
  "claude-sonnet-5": {"input_per_million": 3.0, "output_per_million": 15.0},
  "gpt-6-mini": {"input_per_million": 0.6, "output_per_million": 2.4}
}"""
"""Made up, like everything here."""


def demo_document() -> Document:
    return read_yaml(files("controlplane.demo").joinpath("support_copilot.yaml").read_bytes())


async def load_demo(documents: Documents, actor: Actor, environment: str, speed: int = 1) -> None:
    """Puts it into an environment, on top of what is there. With `speed` times the traffic, budgets allow so much more."""
    document = demo_document()
    flags = document.resources["flag"]
    document.resources["flag"] = {key: _with_budget(raw, speed) for key, raw in flags.items()}
    await documents.import_(actor, environment, document, message=MESSAGE)


def _with_budget(raw: msgspec.Raw, speed: int) -> msgspec.Raw:
    if speed == 1:
        return raw
    spec = msgspec.json.decode(raw)
    for value in spec["variants"].values():
        if isinstance(value, dict) and "window" in value:
            value["window"]["limit"] *= speed
    return msgspec.Raw(msgspec.json.encode(spec))

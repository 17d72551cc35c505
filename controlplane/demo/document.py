"""The demo's configuration, as one document."""

from importlib.resources import files

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


async def load_demo(documents: Documents, actor: Actor, environment: str) -> None:
    """Puts it into an environment, on top of what is there."""
    await documents.import_(actor, environment, demo_document(), message=MESSAGE)

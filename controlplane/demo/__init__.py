"""The configuration of a made-up support product, for `brownout up --demo`."""

from importlib.resources import files

from controlplane.access.actor import Actor
from controlplane.documents import Document, Documents, read_yaml

MESSAGE = "Load the demo: a support copilot"


def demo_document() -> Document:
    return read_yaml(files(__name__).joinpath("support_copilot.yaml").read_bytes())


async def load_demo(documents: Documents, actor: Actor, environment: str) -> None:
    """Puts it into an environment, on top of what is there."""
    await documents.import_(actor, environment, demo_document(), message=MESSAGE)

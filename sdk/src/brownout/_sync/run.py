"""Revisions that continue each other, verified one by one and not served yet: they are applied as one."""

import msgspec

from brownout import wire
from brownout.wire.bundle import Signed


class Run:
    """Starts at the head held. `revision` and `chain` are where it leads."""

    def __init__(self, revision: int, chain: str) -> None:
        self.revision = revision
        self.chain = chain
        self.as_of = 0
        self.messages: list[Signed] = []
        self.operations: list[wire.Operation] = []

    def append(self, envelope: wire.Envelope, message: Signed) -> None:
        """`envelope` is of the next revision, can be applied, and names `chain`."""
        self.revision, self.chain = envelope.rev, wire.chain(self.chain, message.payload)
        self.as_of = max(self.as_of, envelope.ts)
        self.messages.append(message)
        self.operations += envelope.ops


def can_be_applied(envelope: wire.Envelope) -> bool:
    """Whether its operations say all of it; otherwise its revision is reached through a snapshot."""
    return not any(step.op == "reset" or (step.op == "put" and step.spec is msgspec.UNSET) for step in envelope.ops)

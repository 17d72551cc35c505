"""OFREP at the control plane: the SDK key that is shown names the environment (brownout.wire.ofrep has the protocol)."""

from controlplane.access.actor import ANY_ENVIRONMENT, Actor
from controlplane.errors import ForbiddenError


def environment_of(actor: Actor) -> str:
    """The environment that this key opens; the protocol's addresses do not name one.

    Raises:
        ForbiddenError: it opens several, or none in particular.
    """
    keys = [key for key in actor.grants if key != ANY_ENVIRONMENT]
    if len(keys) != 1 or len(actor.grants) != 1:
        raise ForbiddenError("OFREP needs a key of exactly one environment: an SDK key")
    return keys[0]

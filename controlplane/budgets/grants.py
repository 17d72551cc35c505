"""How large a lease is. Pure."""

UNKNOWN_FLEET = 20
"""The instances that share a window while none was heard of."""


def lease(left: int, need: int, want: int, fleet: int) -> int:
    """What one instance is granted of what is left: what it wants, but no more than half of an even share, so that the
    last instance to ask finds something too. Less than it needs is of no use to it, so it gets that if there is as much.

    Args:
        left: What the window and the key have left; may be negative.
        fleet: Instances that share it; 0 if that is unknown.
    """
    share = left // (2 * (fleet or UNKNOWN_FLEET))
    return max(0, min(left, max(need, min(want, share))))


def kept(granted: int, value: int, limit: int) -> int:
    """What of a grant stands, after the counter has become `value`: others added at the same moment."""
    return max(0, granted - max(0, value - limit))

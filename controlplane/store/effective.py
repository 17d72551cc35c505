"""What a commit changes for whom, in words."""

from collections.abc import Sequence

from controlplane.store.values import Change


def effective(changes: Sequence[Change]) -> tuple[str, ...]:
    """One line a change; never empty."""
    return tuple(_line(change) for change in changes) or ("nothing changes",)


def _line(change: Change) -> str:
    what = f"{change.kind.replace('_', ' ')} {change.key}"
    if change.before is None:
        return f"{what}: new"
    return f"{what}: deleted" if change.after is None else f"{what}: changed"

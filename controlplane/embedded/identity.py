"""Who the embedded servers are when we are root: a user of its own for each, that owns its data and nothing else.

`nobody` will not do: what other services run as it could read the memory and the files of ours
(docs/adr/0059-servers-have-users-of-their-own.md).
"""

import contextlib
import grp
import os
import pwd
import secrets
from pathlib import Path

import structlog

from controlplane.embedded.processes import HERE, Ids, service_ids

log = structlog.get_logger(__name__)

FREE = range(60_706, 61_184)
"""Ids that neither accounts nor systemd use (systemd.io/UIDS-GIDS); below 65,536, which every container has."""


def identity_of(data: Path) -> Ids | None:
    """(uid, gid) to run the server of `data` as, which is theirs afterwards; None when we are not root.

    Whose the data is already, if that is one of ours; else one that nobody is and nothing runs as.
    """
    shared = service_ids()
    if shared is None or not HERE.exists():
        return shared
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    owner = data.stat().st_uid
    ids = (owner, owner) if owner in FREE else _unused()
    try:
        give(data, ids)
    except OSError as error:  # a container that maps few ids
        log.warning("no_user_of_its_own", server=data.parent.name, error=error.strerror)
        give(data, shared)
        return shared
    return ids


def give(data: Path, ids: Ids) -> None:
    """Makes all of `data` theirs, and theirs alone. Links are not followed: whoever had it may have left some."""
    if data.stat().st_uid != ids[0]:
        for folder, folders, files in os.walk(data):
            for name in (*folders, *files):
                os.chown(Path(folder, name), *ids, follow_symlinks=False)
        os.chown(data, *ids)
    data.chmod(0o700)


def _unused() -> Ids:
    running = _users()
    free = [number for number in FREE if number not in running and not _has_account(number)]
    chosen = secrets.choice(free or list(FREE))
    return chosen, chosen


def _users() -> set[int]:
    """Who runs something now."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found.add(entry.stat().st_uid)
    return found


def _has_account(number: int) -> bool:
    for known in (pwd.getpwuid, grp.getgrgid):
        try:
            known(number)
        except KeyError:
            continue
        return True
    return False

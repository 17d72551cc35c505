"""The files of a NATS cluster and of the control planes beside it, each in a folder of its own: nobody needs to mount what
another one keeps secret."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from controlplane.access.authority import authority, certificate, write
from controlplane.access.natsconfig import NatsSecrets, node_config

CONTROL = "control"
"""The control planes' folder: their passwords, the issuer's seed, and the authority that they and SDKs believe."""
LOCAL = ("localhost", "127.0.0.1")
MOUNTED = "/etc/brownout-nats"
"""Where a node finds its folder."""


def write_deployment(
    out: Path, nodes: Sequence[str], also: Sequence[str], now: datetime, *, mounted: str = MOUNTED
) -> None:
    """Writes `out/<node>/` for each node and `out/control/`. The secrets and the authority in `out` itself are made once and
    kept; certificates are made anew when they near their end. `also`: further hosts or URLs that SDKs reach nodes by.
    """
    secrets = NatsSecrets.load(out / "secrets.json")
    authority(out, now)
    outside = dict.fromkeys((*LOCAL, *(_host(each) for each in also)))
    for node in nodes:
        certificate(out / node, list(dict.fromkeys((node, *outside))), out, now)
        write(out / node / "nats.conf", node_config(node, nodes, secrets, mounted).encode())
    for name, content in (
        ("nats_password", secrets.app_password),
        ("nats_authd_password", secrets.auth_password),
        ("nats_system_password", secrets.system_password),
        ("nats_issuer_seed", secrets.issuer_seed),
    ):
        write(out / CONTROL / name, content.encode())
    write(out / CONTROL / "ca.pem", (out / "ca.pem").read_bytes())


def _host(text: str) -> str:
    return (urlsplit(text if "//" in text else f"//{text}").hostname or text).lower()

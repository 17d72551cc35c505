"""TLS to Postgres and NATS, from settings."""

import ssl
from collections.abc import Mapping


def client_tls(ca: str, certificate: str = "", key: str = "") -> ssl.SSLContext | None:
    """A context that believes `ca` alone and, when given, shows a certificate; None without `ca`. Arguments are paths."""
    if not ca:
        return None
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate:
        context.load_cert_chain(certificate, key or None)
    return context


_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SYSTEM = "system"


def postgres_tls(query: Mapping[str, str]) -> ssl.SSLContext | bool:
    """What libpq's `sslmode`, `sslrootcert`, `sslcert`, `sslkey` mean; False: in plain.

    `require` encrypts, `verify-ca` believes one authority, `verify-full` checks the host's name, too; `sslrootcert=system`
    believes those of the system, and is always `verify-full`. Where libpq would try and make do without (`prefer`, or
    nothing said), we do not pretend: plain.

    Raises:
        ValueError: in a sentence about the parameter.
        OSError: a file cannot be read.
    """
    authority = query.get("sslrootcert")
    mode = query.get("sslmode", "verify-full" if authority == _SYSTEM else "prefer")
    if mode not in _MODES:
        raise ValueError(f"the parameter sslmode is none of {', '.join(_MODES)}")
    if authority == _SYSTEM and mode != "verify-full":
        raise ValueError("the parameter sslrootcert=system goes with sslmode=verify-full alone")
    if mode in {"disable", "allow", "prefer"}:
        return False
    context = ssl.create_default_context(cafile=None if authority == _SYSTEM else authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if mode != "verify-full":
        context.check_hostname = False
    if mode == "require" and authority is None:
        context.verify_mode = ssl.CERT_NONE
    if "sslcert" in query:
        context.load_cert_chain(query["sslcert"], query.get("sslkey"))
    return context

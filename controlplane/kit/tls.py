"""TLS to Postgres and NATS, from settings."""

import ssl
from collections.abc import Mapping

_KNOWN = {"sslmode", "sslrootcert", "sslcert", "sslkey"}


def client_tls(ca: str, certificate: str = "", key: str = "") -> ssl.SSLContext | None:
    """A context that believes `ca` alone and, when given, shows a certificate; None without `ca`. Arguments are paths."""
    if not ca:
        return None
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate:
        context.load_cert_chain(certificate, key or None)
    return context


def split_postgres_tls(query: Mapping[str, str]) -> tuple[dict[str, str], ssl.SSLContext | bool]:
    """libpq's `sslmode`, `sslrootcert`, `sslcert`, `sslkey` out of a URL's query: (the rest, what they mean).

    `require` encrypts, `verify-ca` believes one authority, `verify-full` checks the host's name, too. False: in plain.
    Where libpq would try and make do without (`prefer`, or nothing said), we do not pretend: plain.
    """
    rest = {name: value for name, value in query.items() if name not in _KNOWN}
    mode = query.get("sslmode", "prefer")
    if mode in {"disable", "allow", "prefer"}:
        return rest, False
    context = ssl.create_default_context(cafile=query.get("sslrootcert"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if mode != "verify-full":
        context.check_hostname = False
    if mode == "require" and "sslrootcert" not in query:
        context.verify_mode = ssl.CERT_NONE
    if "sslcert" in query:
        context.load_cert_chain(query["sslcert"], query.get("sslkey"))
    return rest, context

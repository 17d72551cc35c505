"""nats-py's client, which here never shows a credential to a server that does not encrypt when it was told to."""

from nats.aio.client import Client
from nats.errors import Error

_ENCRYPTED = frozenset({"tls", "wss"})


class InsistentClient(Client):
    """Where `tls=` is given, or the URL begins with `tls://`, nats-py alone goes on in plain text with a server that does
    not ask for TLS: whoever stands in between would be shown the key."""

    def _connect_command(self) -> bytes:
        """What is sent first, and holds the credential. A handshake, if there is one, lies behind us here."""
        assert self._current_server is not None
        scheme = self._current_server.uri.scheme
        wanted = scheme in _ENCRYPTED or self.options.get("tls") is not None
        if wanted and scheme != "wss" and not self._server_info.get("tls_required"):
            raise Error("nats: the server offers no TLS, so it is shown no key")
        return super()._connect_command()

"""Who really pressed the button: cross-site request forgery is refused twice (OWASP; Fetch Metadata, W3C).

The browser says where a request comes from (`Sec-Fetch-Site`, `Origin`), and a page of ours carries a token that only a
page of ours can read. Cookie sessions need both; bearer tokens neither, since no browser adds them by itself.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import urlsplit

from controlplane.errors import ForbiddenError

HEADER = "X-CSRF-Token"
FIELD = "csrf"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Csrf:
    def __init__(self, secret_keys: Sequence[str], public_url: str) -> None:
        """`secret_keys`: the one that makes tokens, then those whose tokens still count: pages may be open."""
        self._keys = tuple(sha256(b"brownout/csrf/1\0" + secret.encode()).digest() for secret in secret_keys)
        self._origin = origin_of(public_url)

    def token(self, session: str) -> str:
        """What pages of this session carry in a form field or in htmx's headers. `session`: its id."""
        return _token(self._keys[0], session)

    def check_origin(self, site: str, origin: str, host: str) -> None:
        """Raises ForbiddenError when the browser says that another site sent this.

        `site`, `origin`, `host`: the headers Sec-Fetch-Site, Origin and Host; empty when absent.
        """
        same = origin in {"", self._origin} or urlsplit(origin).netloc == host
        if site not in {"", "same-origin", "none"} or not same:
            raise ForbiddenError("another site sent this request")

    def check_token(self, session: str, token: str) -> None:
        """Raises ForbiddenError unless the token is this session's."""
        if not any(hmac.compare_digest(_token(key, session).encode(), token.encode()) for key in self._keys):
            raise ForbiddenError("this page is out of date; reload it and try again")


def _token(key: bytes, session: str) -> str:
    return hmac.new(key, session.encode(), sha256).hexdigest()


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def safe_path(target: str, otherwise: str = "/") -> str:
    """`target` when it is a path of ours, to go on to after signing in; anything else could lead off the site."""
    local = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if local and "\\" not in target else otherwise

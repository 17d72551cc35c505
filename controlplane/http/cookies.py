"""The two cookies of a browser: its session, and that it has signed in before."""

from collections.abc import Mapping

from litestar.datastructures import Cookie

from controlplane.access.sessions import SignedIn
from controlplane.http.root import root_of

_YEAR_S = 365 * 24 * 3600


class Cookies:
    """Behind TLS the names carry `__Host-`: no other host or path can set them (RFC 6265bis §4.1.3.2). Under a path of a
    shared host they are sent to that path only, which is `__Secure-`."""

    def __init__(self, public_url: str) -> None:
        self._secure = public_url.startswith("https://")
        self._path = f"{root_of(public_url)}/"
        prefix = "" if not self._secure else "__Host-" if self._path == "/" else "__Secure-"
        self.session = f"{prefix}brownout-session"
        self.device = f"{prefix}brownout-device"
        self.operator_pass = f"{prefix}brownout-pass"
        self.state = f"{prefix}brownout-sso"
        self.ceremony = f"{prefix}brownout-ceremony"

    def signed_in(self, who: SignedIn) -> list[Cookie]:
        return [
            self._cookie(self.session, who.secret, who.lasts_s),
            *([self._cookie(self.device, who.device, _YEAR_S)] if who.device else []),
        ]

    def signed_out(self) -> list[Cookie]:
        return [self._cookie(self.session, "", 0), self._cookie(self.operator_pass, "", 0)]

    def with_pass(self, text: str, lasts_s: int) -> Cookie:
        """An operator pass: it switches safe mode while the database is away."""
        return self._cookie(self.operator_pass, text, lasts_s)

    def pass_of(self, cookies: Mapping[str, str]) -> str:
        return cookies.get(self.operator_pass, "")

    def sso_state(self, sealed: str, lasts_s: int) -> Cookie:
        return self._cookie(self.state, sealed, lasts_s)

    def passkey_ceremony(self, sealed: str, lasts_s: int) -> Cookie:
        return self._cookie(self.ceremony, sealed, lasts_s)

    def session_of(self, cookies: Mapping[str, str]) -> str:
        return cookies.get(self.session, "")

    def device_of(self, cookies: Mapping[str, str]) -> str:
        return cookies.get(self.device, "")

    def _cookie(self, name: str, value: str, max_age_s: int) -> Cookie:
        # Lax, not Strict: an identity provider sends people back to us from its own site.
        return Cookie(
            key=name, value=value, max_age=max_age_s, path=self._path, secure=self._secure, httponly=True,
            samesite="lax",
        )  # fmt: skip

"""Secrets at rest: AES-256-GCM under a key derived from BROWNOUT_SECRET_KEY (RFC 5869, NIST SP 800-38D)."""

import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from controlplane.errors import BrownoutError

MIN_SECRET_LENGTH = 32
_NONCE_BYTES = 12


class SecretKeyError(BrownoutError):
    """BROWNOUT_SECRET_KEY is too short, or neither it nor a previous one sealed this."""

    code = "secret_key"


class SecretBox:
    """Seals bytes for one `purpose`; what is sealed for one purpose or `label` opens for no other.

    Args:
        secrets: the secret key; or several, the one that seals first and then those that still open.
    """

    def __init__(self, secrets: str | Sequence[str], purpose: str) -> None:
        self._ciphers = tuple(
            _cipher(secret, purpose) for secret in ([secrets] if isinstance(secrets, str) else secrets)
        )

    def seal(self, plain: bytes, label: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, plain, label.encode())

    def open(self, sealed: bytes, label: str) -> bytes:
        """Raises SecretKeyError when the secrets, the label or the bytes are not those of `seal`."""
        return self._opened(sealed, label)[1]

    def resealed(self, sealed: bytes, label: str) -> bytes | None:
        """The same under the present secret; None when it is already. Raises SecretKeyError as `open` does."""
        place, plain = self._opened(sealed, label)
        return self.seal(plain, label) if place else None

    def _opened(self, sealed: bytes, label: str) -> tuple[int, bytes]:
        for place, cipher in enumerate(self._ciphers):
            try:
                return place, cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], label.encode())
            except (InvalidTag, ValueError):
                continue
        raise SecretKeyError(
            "this database holds secrets that neither BROWNOUT_SECRET_KEY nor BROWNOUT_SECRET_KEY_PREVIOUS opens"
        )


def _cipher(secret: str, purpose: str) -> AESGCM:
    if len(secret) < MIN_SECRET_LENGTH:
        raise SecretKeyError(f"BROWNOUT_SECRET_KEY needs at least {MIN_SECRET_LENGTH} characters")
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=f"brownout/{purpose}/1".encode()).derive(secret.encode()))

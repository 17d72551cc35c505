"""Secrets at rest: AES-256-GCM under a key derived from BROWNOUT_SECRET_KEY (RFC 5869, NIST SP 800-38D)."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from controlplane.errors import BrownoutError

MIN_SECRET_LENGTH = 32
_NONCE_BYTES = 12


class SecretKeyError(BrownoutError):
    """BROWNOUT_SECRET_KEY is too short, or not the one that sealed this."""

    code = "secret_key"
    status = 503


class SecretBox:
    """Seals bytes for one `purpose`; what is sealed for one purpose or `label` opens for no other."""

    def __init__(self, secret: str, purpose: str) -> None:
        if len(secret) < MIN_SECRET_LENGTH:
            raise SecretKeyError(f"BROWNOUT_SECRET_KEY needs at least {MIN_SECRET_LENGTH} characters")
        key = HKDF(SHA256(), 32, salt=None, info=f"brownout/{purpose}/1".encode()).derive(secret.encode())
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, label: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, label.encode())

    def open(self, sealed: bytes, label: str) -> bytes:
        """Raises SecretKeyError when the secret, the label or the bytes are not those of `seal`."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], label.encode())
        except (InvalidTag, ValueError) as error:
            raise SecretKeyError("BROWNOUT_SECRET_KEY is not the one this database was written with") from error

"""A passkey in software: what a browser and a security key would answer to the control plane's options."""

import hashlib
import json
import secrets
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2.cose import ES256
from fido2.utils import websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

Json = dict[str, Any]
PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


class Authenticator:
    """One credential. `origin`: what the browser says where it is; `verifies`: it has asked for a PIN or a finger."""

    def __init__(self, origin: str, rp_id: str = "brownout.example", *, verifies: bool = True) -> None:
        self.origin = origin
        self.rp_id = rp_id
        self.verifies = verifies
        self.count = 0
        self.id = secrets.token_bytes(32)
        self._key = ec.generate_private_key(ec.SECP256R1())

    def create(self, options: Json) -> Json:
        client = self._client(CollectedClientData.TYPE.CREATE, options)
        public = ES256.from_cryptography_key(self._key.public_key())
        data = AttestedCredentialData.create(b"\0" * 16, self.id, public)
        flags = ATTESTED | self._flags()
        auth = AuthenticatorData.create(self._rp_hash(), flags, self.count, bytes(data))
        attestation = AttestationObject.create("none", auth, {})
        return self._answer({"clientDataJSON": bytes(client), "attestationObject": bytes(attestation)})

    def get(self, options: Json, *, user: str = "") -> Json:
        self.count += 1
        client = self._client(CollectedClientData.TYPE.GET, options)
        auth = AuthenticatorData.create(self._rp_hash(), self._flags(), self.count)
        signature = self._key.sign(bytes(auth) + client.hash, ec.ECDSA(SHA256()))
        response = {"clientDataJSON": bytes(client), "authenticatorData": bytes(auth), "signature": signature}
        return self._answer({**response, **({"userHandle": user.encode()} if user else {})})

    def _client(self, kind: Any, options: Json) -> CollectedClientData:
        body = {"type": kind.value, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": False}
        return CollectedClientData(json.dumps(body).encode())

    def _flags(self) -> int:
        return PRESENT | (VERIFIED if self.verifies else 0)

    def _rp_hash(self) -> bytes:
        return hashlib.sha256(self.rp_id.encode()).digest()

    def _answer(self, response: dict[str, bytes]) -> Json:
        identity = websafe_encode(self.id)
        encoded = {name: websafe_encode(value) for name, value in response.items()}
        return {
            "id": identity,
            "rawId": identity,
            "type": "public-key",
            "response": encoded,
            "clientExtensionResults": {},
        }

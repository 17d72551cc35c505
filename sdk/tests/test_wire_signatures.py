from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from brownout import wire

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def test_what_verified_once_vouches_for_nothing_else() -> None:
    signature = wire.sign(KEY, "k", "log", "production", b"payload")
    verifier = wire.Verifier("production", {"k": raw(KEY)})
    assert verifier.verify("log", b"payload", signature)
    assert verifier.verify("log", b"payload", signature)
    assert not verifier.verify("log", b"payload!", signature)
    assert not verifier.verify("snapshot", b"payload", signature)
    assert not verifier.verify("log", b"payload", signature[:-4] + "AAA=")
    assert not wire.Verifier("staging", {"k": raw(KEY)}).verify("log", b"payload", signature)
    assert not wire.Verifier("production", {"k": raw(OTHER)}).verify("log", b"payload", signature)


def test_many_messages_verify_one_after_another() -> None:
    verifier = wire.Verifier("production", {"k": raw(KEY)})
    for number in range(200):
        payload = b"%d" % number
        assert verifier.verify("log", payload, wire.sign(KEY, "k", "log", "production", payload))

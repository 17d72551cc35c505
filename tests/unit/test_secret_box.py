import pytest

from controlplane.kit.secret_box import MIN_SECRET_LENGTH, SecretBox, SecretKeyError

SECRET = "s" * MIN_SECRET_LENGTH


def test_what_is_sealed_opens_again_and_never_looks_the_same() -> None:
    box = SecretBox(SECRET, "keys")
    one, two = box.seal(b"private", "a"), box.seal(b"private", "a")
    assert one != two
    assert b"private" not in one
    assert SecretBox(SECRET, "keys").open(one, "a") == box.open(two, "a") == b"private"


@pytest.mark.parametrize(
    ("secret", "purpose", "label"), [("t" * 40, "keys", "a"), (SECRET, "other", "a"), (SECRET, "keys", "b")]
)
def test_another_secret_purpose_or_label_opens_nothing(secret: str, purpose: str, label: str) -> None:
    sealed = SecretBox(SECRET, "keys").seal(b"private", "a")
    with pytest.raises(SecretKeyError):
        SecretBox(secret, purpose).open(sealed, label)


def test_what_was_changed_does_not_open() -> None:
    box = SecretBox(SECRET, "keys")
    sealed = bytearray(box.seal(b"private", "a"))
    sealed[-1] ^= 1
    for broken in (bytes(sealed), b"", b"short"):
        with pytest.raises(SecretKeyError):
            box.open(broken, "a")


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(SecretKeyError):
        SecretBox("short", "keys")

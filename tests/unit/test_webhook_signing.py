"""Signatures that any Standard Webhooks library verifies."""

import base64

import pytest

from controlplane.notify.webhook_signing import parse_secrets, sign
from controlplane.settings import SettingsError, load_settings
from tests.support import SECRET_KEY

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEEDED = {
    "BROWNOUT_DATABASE_URL": "postgresql://x@127.0.0.1/x",
    "BROWNOUT_NATS_URL": "nats://127.0.0.1",
    "BROWNOUT_SECRET_KEY": SECRET_KEY,
    "BROWNOUT_ALERT_WEBHOOK": "https://hooks.example/secret-part",
}


def test_the_example_of_the_specification_is_signed_alike() -> None:
    made = sign(parse_secrets(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_a_secret_is_replaced_both_sign() -> None:
    other = "whsec_" + base64.b64encode(b"another secret of 32 bytes, truly").decode()
    both = sign(parse_secrets(f"{SECRET}, {other}"), "m", 1, b"")
    assert both.split() == [sign(parse_secrets(each), "m", 1, b"") for each in (SECRET, other)]


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64!"]
)
def test_a_webhook_without_a_proper_secret_is_refused_at_the_start(secret: str) -> None:
    with pytest.raises(SettingsError, match="BROWNOUT_ALERT_WEBHOOK_SECRET") as refused:
        load_settings({**NEEDED, "BROWNOUT_ALERT_WEBHOOK_SECRET": secret})
    assert "secret-part" not in str(refused.value)
    assert not secret or secret not in str(refused.value).replace("whsec_ followed", "")

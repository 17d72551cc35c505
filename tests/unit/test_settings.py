from pathlib import Path

import pytest
from msgspec import inspect

from controlplane.errors import InvalidInputError
from controlplane.kit.database import Database
from controlplane.settings import Settings, SettingsError, load_settings

REQUIRED = {
    "BROWNOUT_DATABASE_URL": "postgresql://u:hunter2@db/brownout",
    "BROWNOUT_SECRET_KEY": "s" * 32,
    "BROWNOUT_NATS_URL": "nats://one:4222,nats://two:4222",
}


def test_everything_missing_or_malformed_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({"BROWNOUT_PORT": "eighty"})
    for name in [*REQUIRED, "BROWNOUT_PORT"]:
        assert name in str(refused.value)


def test_a_secret_can_come_from_a_file_and_never_prints(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("k" * 40 + "\n")
    settings = load_settings({**REQUIRED, "BROWNOUT_SECRET_KEY": "", "BROWNOUT_SECRET_KEY_FILE": str(file)})
    assert settings.secret_key.reveal() == "k" * 40
    assert "kkk" not in repr(settings)
    assert "hunter2" not in repr(settings)


def test_a_short_secret_key_is_refused() -> None:
    with pytest.raises(SettingsError, match="BROWNOUT_SECRET_KEY"):
        load_settings({**REQUIRED, "BROWNOUT_SECRET_KEY": "short"})


@pytest.mark.parametrize("url", ["hunter2", "mysql://hunter2@host/name", "postgresql://host:hunter2/name", ""])
def test_an_address_of_no_postgres_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidInputError, match="BROWNOUT_DATABASE_URL") as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("TELEMETRY_SERIES", "9"), ("TELEMETRY_BYTES_PER_MINUTE", "0"), ("METRICS_SERIES", "100001")]
)
def test_a_quota_has_a_range(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"BROWNOUT_{name}: Expected"):
        load_settings({**REQUIRED, f"BROWNOUT_{name}": value})


@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_patience_is_more_than_nothing(value: str) -> None:
    with pytest.raises(SettingsError, match="BROWNOUT_HTTP_HEADER_TIMEOUT_S: Expected"):
        load_settings({**REQUIRED, "BROWNOUT_HTTP_HEADER_TIMEOUT_S": value})


def test_every_number_has_a_range() -> None:
    fields = list(inspect.type_info(Settings).fields)  # type: ignore[attr-defined]
    numbers = [field for field in fields if isinstance(field.type, inspect.IntType | inspect.FloatType)]
    assert len(numbers) > 20
    for field in numbers:
        assert field.type.ge is not None, field.name
        assert field.type.le is not None, field.name
    wrong = {f"BROWNOUT_{field.name.upper()}": str(int(field.type.le) + 1) for field in numbers}
    with pytest.raises(SettingsError) as caught:
        load_settings({**REQUIRED, **wrong})
    assert all(name in str(caught.value) for name in wrong)

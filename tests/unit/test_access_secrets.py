import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from controlplane.access.nkeys import InvalidTokenError, KeyPair, read_jwt
from controlplane.access.password_rules import check_password
from controlplane.access.passwords import Passwords
from controlplane.errors import InvalidInputError
from controlplane.kit import tokens

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def test_a_minted_secret_is_well_formed_and_its_digest_and_hint_do_not_contain_it() -> None:
    secret = tokens.mint("bo_api_")
    assert tokens.well_formed(secret.text, "bo_api_")
    assert not tokens.well_formed(secret.text, "bo_sdk_")
    assert secret.digest == tokens.digest(secret.text)
    assert secret.text[7:] not in secret.digest + secret.hint + repr(secret)


@given(st.integers(7, 55), st.sampled_from("0aZ9"))
def test_one_wrong_character_is_noticed_without_a_database(position: int, other: str) -> None:
    text = tokens.mint("bo_api_", lambda n: b"\x07" * n).text
    damaged = text[:position] + other + text[position + 1 :]
    assert damaged == text or not tokens.well_formed(damaged, "bo_api_")


@given(st.text(max_size=80))
def test_anything_may_be_asked(text: str) -> None:
    assert tokens.well_formed(text, "bo_api_") is False


def test_redaction_finds_secrets_inside_text() -> None:
    secret = tokens.mint("bo_sdk_").text
    assert tokens.redact(f"key={secret}.k1.abc failed") == "key=bo_sdk_[redacted].k1.abc failed"


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short", "too_short"),
        ("x" * 600, "too_long"),
        ("Password1234", "too_common"),
        ("aaaaaaaaaaaaaaaa", "too_common"),
        ("mara@example.com1", "too_obvious"),
    ],
)
def test_weak_passwords_are_refused_with_a_code(password: str, code: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        check_password(password, about=("mara@example.com",))
    assert refused.value.faults[0].code == code
    assert password not in refused.value.message


@pytest.mark.parametrize("password", ["correct horse battery", "tr0ub4dor&3xyz", "мой длинный пароль"])
def test_length_is_what_counts(password: str) -> None:
    check_password(password, about=("mara@example.com",))


@pytest.mark.anyio
async def test_passwords_match_only_themselves_and_nobody_matches_nothing() -> None:
    passwords = Passwords(QUICK)
    stored = await passwords.hash("correct horse battery")
    assert await passwords.matches(stored, "correct horse battery")
    assert not await passwords.matches(stored, "correct horse batterz")
    assert not await passwords.matches(None, "nobody has this password")
    assert not await passwords.matches("not a hash", "correct horse battery")
    assert not passwords.outdated(stored)
    assert Passwords().outdated(stored)


def test_an_nkey_survives_its_seed() -> None:
    pair = KeyPair("account")
    assert pair.public.startswith("A")
    assert pair.seed.startswith("SA")
    assert KeyPair.from_seed(pair.seed).public == pair.public
    with pytest.raises(ValueError, match="nkey"):
        KeyPair.from_seed(pair.seed[:20] + ("A" if pair.seed[20] != "A" else "B") + pair.seed[21:])


def test_a_jwt_reads_back_and_a_forged_one_does_not() -> None:
    issuer = KeyPair("account", b"\x01" * 32)
    token = issuer.issue("subject", {"type": "user"}, issued_at=1, name="n", audience="BO")
    claims = read_jwt(token)
    assert (claims["iss"], claims["sub"], claims["name"], claims["aud"]) == (issuer.public, "subject", "n", "BO")
    head, payload, _ = token.split(".")
    other = KeyPair("account", b"\x02" * 32).issue("subject", {"type": "user"}, issued_at=1)
    for forged in (f"{head}.{payload}.{other.split('.')[2]}", "a.b.c", "", "x", f"{head}.{payload}."):
        with pytest.raises(InvalidTokenError):
            read_jwt(forged)

"""libpq's parameters mean what libpq says, or are refused in one sentence that repeats no password."""

import ssl

import pytest

from controlplane.errors import InvalidInputError
from controlplane.kit.postgres_url import parse

PLACE = "postgresql://ada:hunter2@db.example:6432/flags"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_every_usual_scheme_is_the_same_place(scheme: str) -> None:
    arguments = parse(PLACE.replace("postgresql", scheme)).arguments(3)
    place = {name: arguments[name] for name in ("host", "port", "user", "password", "database")}
    assert place == {"host": "db.example", "port": 6432, "user": "ada", "password": "hunter2", "database": "flags"}
    assert (arguments["timeout"], arguments["ssl"]) == (3, False)
    assert arguments["server_settings"] == {"application_name": "brownout"}


def test_settings_of_the_session_are_the_operators() -> None:
    query = (
        "application_name=flags&options=-c%20statement_timeout%3D9s%20--search-path%3Da%20-cjit%3Don&connect_timeout=7"
    )
    address = parse(f"{PLACE}?{query}")
    options = address.options(3, jit="off", statement_timeout="15000")
    assert options["server_settings"] == {
        "application_name": "flags", "statement_timeout": "9s", "search_path": "a", "jit": "on",
    }  # fmt: skip
    assert options["timeout"] == 7
    assert address.url.query == {}
    assert parse(f"{PLACE}?connect_timeout=0").options(3)["timeout"] == 3


def test_a_place_may_stand_in_the_query() -> None:
    arguments = parse("postgresql:///flags?host=/run/postgresql&port=5433&user=ada").arguments(3)
    assert (arguments["host"], arguments["port"], arguments["user"]) == ("/run/postgresql", 5433, "ada")


def test_the_authorities_of_the_system_are_always_checked_in_full() -> None:
    tls = parse(f"{PLACE}?sslrootcert=system").tls
    assert isinstance(tls, ssl.SSLContext)
    assert (tls.check_hostname, tls.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert isinstance(parse(f"{PLACE}?sslmode=require&channel_binding=prefer").tls, ssl.SSLContext)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("channel_binding=require", "sslmode=verify-full"),
        ("sslrootcert=system&sslmode=require", "sslrootcert=system"),
        ("sslmode=always", "sslmode"),
        ("sslmode=verify-full&sslrootcert=/nowhere.pem", "No such file"),
        ("connect_timeout=soon", "connect_timeout"),
        ("options=-x", "options"),
        ("options=-c", "options"),
        ("options=%22", "options"),
        ("host=a,b", "host"),
        ("port=x", "port"),
        ("gssencmode=require", "gssencmode"),
        ("application_name=a&application_name=b", "application_name"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(query: str, named: str) -> None:
    with pytest.raises(InvalidInputError, match=named) as caught:
        parse(f"{PLACE}?{query}")
    assert "BROWNOUT_DATABASE_URL" in str(caught.value)
    assert "hunter2" not in str(caught.value)

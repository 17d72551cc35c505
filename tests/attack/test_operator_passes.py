"""Passes that are forged, damaged, expired or foreign open nothing, and each of them is counted."""

import random
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from controlplane.access.actor import ANY_ENVIRONMENT, Action, Actor, Role, allows
from controlplane.access.address_rules import narrowed
from controlplane.access.passes import LASTS, REFUSED, Holders, Pass, Passes, _mac, as_operator
from controlplane.errors import UnauthenticatedError
from controlplane.kit.database import Database
from tests.integration.accessing import MovableClock
from tests.support import SECRET_KEY

OPERATOR = Actor("person", "ann@example.com", {"production": frozenset({Role.OPERATOR})}, person="p", credential="s")
HELD = Holders({"p": {"production": ("operator",)}, "q": {"staging": ("admin",)}}, {}, frozenset({"ended"}), 1)
NUMBER = 3_000


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


def passes(clock: MovableClock, *secrets: str) -> Passes:
    made = Passes(secrets or (SECRET_KEY,), clock, Database("postgresql://nobody@127.0.0.1:9/x"), timedelta(days=30))
    made.holders = HELD
    return made


def issued(by: Passes, actor: Actor = OPERATOR) -> str:
    text = by.issue(actor)
    assert text is not None
    return text


def counted() -> float:
    return sum(sample.value for metric in REFUSED.collect() for sample in metric.samples if "total" in sample.name)


def forgeries(text: str, chance: random.Random) -> Iterator[str]:
    payload, _, mac = text.removeprefix("bo_pass_").partition(".")
    said = msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=Pass)
    widened = msgspec.structs.replace(said, grants={"*": ("admin",)}, expires_at=said.expires_at * 2)
    rewritten = urlsafe_b64encode(msgspec.json.encode(widened)).rstrip(b"=").decode()
    while True:
        at = chance.randrange(len(text))
        yield text[:at]
        yield text[:at] + chance.choice("abcXYZ019-_.") + text[at + 1 :] + "A"
        yield f"bo_pass_{rewritten}.{mac}"
        yield f"bo_pass_{payload}.{chance.getrandbits(256):x}"
        yield chance.randbytes(chance.randrange(200)).decode("latin-1")


def test_no_pass_but_a_genuine_one_opens_anything(clock: MovableClock) -> None:
    ours, before = passes(clock), counted()
    genuine = issued(ours)
    assert ours.open(genuine).name == "ann@example.com"
    made = forgeries(genuine, random.Random(7))
    for _ in range(NUMBER):
        with pytest.raises(UnauthenticatedError):
            ours.open(next(made))
    assert counted() - before == NUMBER


def test_a_pass_ends_with_its_time_its_role_its_credential_and_its_holder(clock: MovableClock) -> None:
    ours = passes(clock)
    text = issued(ours)
    for holders in (
        Holders({}, {}, frozenset(), 1),
        msgspec.structs.replace(HELD, people={"p": {"staging": ("operator",)}}),
        msgspec.structs.replace(HELD, people={"p": {"production": ("a role of a newer version",)}}),
        msgspec.structs.replace(HELD, ended=frozenset({"s"})),
    ):
        ours.holders = holders
        with pytest.raises(UnauthenticatedError):
            ours.open(text)
    ours.holders = HELD
    clock.move(LASTS - timedelta(seconds=2))
    assert ours.open(text).person == "p"
    clock.move(timedelta(seconds=3))
    with pytest.raises(UnauthenticatedError):
        ours.open(text)


def test_a_pass_opens_no_more_than_its_holder_still_holds(clock: MovableClock) -> None:
    ours = passes(clock)
    admin = Actor("person", "ann@example.com", {ANY_ENVIRONMENT: frozenset({Role.ADMIN})}, person="p", credential="s")
    actor = as_operator(ours.open(issued(ours, admin)))
    assert allows(actor.grants, Action.SAFE_MODE, "production")
    assert not allows(actor.grants, Action.SAFE_MODE, "staging")
    assert not any(allows(actor.grants, Action.MANAGE_KEYS, each) for each in ("production", ANY_ENVIRONMENT))


def test_a_rule_for_addresses_takes_the_role_that_is_held_and_no_other(clock: MovableClock) -> None:
    """An administrator whose role counts from the office alone is no operator from elsewhere, either."""
    ours = passes(clock)
    ours.holders = msgspec.structs.replace(HELD, people={"p": {"production": ("admin",)}})
    held = ours.open(issued(ours)).grants
    assert held == {"production": frozenset({Role.ADMIN})}
    barred = narrowed(held, [("production", "admin")], ["production"])
    assert as_operator(msgspec.structs.replace(OPERATOR, grants=barred)).grants == {}
    other = narrowed(held, [("production", "operator")], ["production"])
    assert as_operator(msgspec.structs.replace(OPERATOR, grants=other)).grants == {
        "production": frozenset({Role.OPERATOR})
    }


def test_a_machine_token_opens_no_more_than_its_maker(clock: MovableClock) -> None:
    ours = passes(clock)
    robot = msgspec.structs.replace(OPERATOR, kind="token", credential="t", machine=True)
    text = issued(ours, robot)
    tokens = {"t": {"production": ("operator",)}}
    ours.holders = msgspec.structs.replace(HELD, tokens=tokens)
    assert ours.open(text).machine
    ours.holders = msgspec.structs.replace(HELD, tokens=tokens, people={})
    with pytest.raises(UnauthenticatedError):
        ours.open(text)


def test_a_pass_that_no_cookie_holds_is_not_made(clock: MovableClock) -> None:
    many = {f"environment-number-{number:05}": frozenset({Role.OPERATOR}) for number in range(200)}
    assert passes(clock).issue(msgspec.structs.replace(OPERATOR, grants=many)) is None


def test_a_pass_of_a_version_that_says_it_differently_is_refused_and_counted(clock: MovableClock) -> None:
    ours, before = passes(clock), counted()
    for said in (b'{"kind":"robot"}', b"\xff", b""):
        payload = urlsafe_b64encode(said).rstrip(b"=").decode()
        mac = urlsafe_b64encode(_mac(ours._keys[0], payload)).rstrip(b"=").decode()
        with pytest.raises(UnauthenticatedError):
            ours.open(f"bo_pass_{payload}.{mac}")
    assert counted() - before == 3


def test_who_may_not_switch_safe_mode_gets_none(clock: MovableClock) -> None:
    ours = passes(clock)
    for role in (Role.VIEWER, Role.EDITOR, Role.APPROVER):
        assert ours.issue(Actor("person", "v@example.com", {"production": frozenset({role})}, person="v")) is None
    waiting = msgspec.structs.replace(OPERATOR, stage="factor")
    assert ours.issue(waiting) is None
    assert ours.issue(Actor("sdk", "sdk:x", {"production": frozenset({Role.SDK})})) is None


def test_a_pass_outlives_a_change_of_the_secret_key_while_the_old_one_is_kept(clock: MovableClock) -> None:
    text = issued(passes(clock))
    new = "n" * 40
    assert passes(clock, new, SECRET_KEY).open(text).person == "p"
    with pytest.raises(UnauthenticatedError):
        passes(clock, new).open(text)

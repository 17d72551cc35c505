"""What events are called, what is about the same thing, and what people read of them."""

from datetime import UTC, datetime

import msgspec
import pytest

from brownout.model.parse import encode
from brownout.model.resources import Progress, Rollout, SafeModeActivation, Scope, Stage
from controlplane.access.values import Entry
from controlplane.access.values import Event as Audited
from controlplane.configuration.store.values import Change, Commit
from controlplane.notify.acks import AckLinks
from controlplane.notify.causes import AUDITED, MAX_OF_ONE_COMMIT, of_commit, of_entry
from controlplane.notify.compose import compose
from controlplane.notify.events import MAX_DEDUPE, dedupe_key, new_event, title_of
from controlplane.notify.kinds import BY_WIRE, KINDS, ROWS, Severity, kind_of
from controlplane.notify.senders.email import EmailConfig, letter
from controlplane.notify.senders.message import Message
from controlplane.notify.senders.pagerduty import alert_body
from controlplane.notify.senders.slack import slack_body
from controlplane.notify.senders.teams import teams_body

NOW = datetime(2026, 11, 27, 3, 12, tzinfo=UTC)
LINKS = AckLinks(("k" * 32, "p" * 32), "https://brownout.example")


def commit(*changes: Change, author: str = "mara@example.com") -> Commit:
    return Commit("production", 7, 1, "c", author, "because", NOW, (), changes)


def activation(until: datetime = NOW) -> bytes:
    return encode(SafeModeActivation(
        profile="calm", reason="outage", actor="mara", activated_at=NOW, expires_at=until, scope=Scope(services=("chat",)),
    ))  # fmt: skip


def rollout(state: str, stage: int = 0, run: int = 1) -> bytes:
    stages = (Stage(weight_bp=100, min_duration_s=60), Stage(weight_bp=10_000, min_duration_s=60))
    progress = Progress(state, run=run, stage=stage, started_at=NOW)  # type: ignore[arg-type]
    return encode(Rollout(flag="model", control="small", treatment="big", stages=stages, progress=progress))


def kinds(*changes: Change, author: str = "mara@example.com") -> list[str]:
    return [each.kind for each in of_commit(commit(*changes, author=author))]


def test_keys_are_unique_and_titles_need_only_known_words() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)
    assert set(AUDITED.values()) <= set(KINDS)
    for row in ROWS:
        assert title_of(row, {}), row.key
        assert row.line or not row.resolves, f"{row.key} ends what no one else began"
    assert {row.wire for row in BY_WIRE.values()}.isdisjoint(KINDS)


def test_what_a_commit_does_to_safe_mode_is_told() -> None:
    change = "safe_mode_activation", "a"
    assert kinds(Change(*change, None, activation())) == ["safe_mode_on"]
    assert kinds(Change(*change, activation(), activation(NOW.replace(hour=5)))) == ["safe_mode_changed"]
    assert kinds(Change(*change, activation(), None)) == ["safe_mode_lifted"]
    assert kinds(Change(*change, activation(), None), author="system:expiry") == ["safe_mode_expired"]
    (on,) = of_commit(commit(Change(*change, None, activation())))
    assert on.data == {
        "environment": "production", "activation": "a", "profile": "calm", "scope": "chat", "reason": "outage",
        "until": NOW.isoformat(), "actor": "mara@example.com", "revision": "r7", "message": "because",
    }  # fmt: skip
    assert title_of(kind_of(on.kind), on.data) == "Safe mode calm is on in production for chat"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, rollout("draft", run=0), []),
        (rollout("draft", run=0), rollout("running"), ["rollout_started"]),
        (None, rollout("running"), ["rollout_started"]),
        (rollout("running"), rollout("running", 1), ["rollout_advanced"]),
        (rollout("running"), rollout("paused"), ["rollout_paused"]),
        (rollout("paused"), rollout("running"), ["rollout_resumed"]),
        (rollout("running", 1), rollout("completed", 1), ["rollout_completed"]),
        (rollout("completed", 1), rollout("finished", 1), ["rollout_finished"]),
        (rollout("running"), rollout("rolled_back"), ["rollout_rolled_back"]),
        (rollout("paused"), rollout("aborted"), ["rollout_aborted"]),
        (rollout("rolled_back"), rollout("running", run=2), ["rollout_started"]),
        (rollout("rolled_back"), None, []),
        (rollout("running"), rollout("running"), []),
    ],
)
def test_what_a_commit_does_to_a_rollout_is_told(before: bytes | None, after: bytes | None, told: list[str]) -> None:
    assert kinds(Change("rollout", "new", before, after)) == told


def test_what_a_newer_version_wrote_is_told_as_far_as_it_can_be_read() -> None:
    newer = msgspec.json.encode({**msgspec.json.decode(activation()), "expires_at": "in a while"})
    (on,) = of_commit(commit(Change("safe_mode_activation", "a", None, newer)))
    assert (on.kind, on.environment) == ("safe_mode_on", "production")
    assert kinds(Change("rollout", "new", None, b'{"stages": 7}'), Change("flag", "f", None, b"{}")) == []
    many = [Change("safe_mode_activation", str(n), None, activation()) for n in range(200)]
    assert len(kinds(*many)) == MAX_OF_ONE_COMMIT


def test_the_audit_log_tells_of_what_succeeded() -> None:
    def entry(event: Audited, outcome: str = "ok", **detail: str) -> Entry:
        return Entry(1, event, outcome, "mara", "person", "", "", "production", "beta-key", "rotation", detail)  # type: ignore[arg-type]

    assert [each.kind for each in of_entry(entry(Audited.KEY_REVOKED))] == ["key_revoked"]
    assert of_entry(entry(Audited.KEY_REVOKED, "refused")) == []
    assert of_entry(entry(Audited.SIGN_IN)) == []
    assert of_entry(entry(Audited.COMMIT, allowed_by="no rule")) == []
    assert [each.kind for each in of_entry(entry(Audited.COMMIT, allowed_by="approved"))] == ["approval_carried_out"]


def test_a_failure_and_its_end_are_about_the_same_thing_and_two_things_never_are() -> None:
    fields = {"environment": "production", "count": "3"}
    assert new_event("instances_lag", fields).dedupe == new_event("instances_lag_over", fields).dedupe
    long = ["x" * 300 + letter for letter in "ab"]
    keys = {dedupe_key(kind_of("safe_mode_on"), "production", {"activation": each}) for each in long}
    assert len(keys) == 2
    assert all(len(key) <= MAX_DEDUPE for key in keys)


def test_an_overdue_activation_has_one_id_wherever_it_is_noticed() -> None:
    fields = {"environment": "production", "activation": "a", "until": "12:00"}
    first, again = (new_event("safe_mode_overdue", fields) for _ in range(2))
    later = new_event("safe_mode_overdue", {**fields, "until": "13:00"})
    assert first.message_id == again.message_id != later.message_id


def message(kind: str = "safe_mode_on", **data: str) -> Message:
    made = new_event(kind, {"environment": "production", "activation": "a", **data})
    return compose(
        kind, message_id="msg_1", environment="production", severity=made.severity, dedupe=made.dedupe, data=made.data,
        at=NOW, now=NOW, channel="ops", links=LINKS, url="https://brownout.example",
    )  # fmt: skip


def test_pages_ask_to_be_acknowledged_and_others_do_not() -> None:
    page = message(profile="calm")
    assert page.action == "trigger"
    assert LINKS.read(page.ack_link.rpartition("/")[2]) == ("msg_1", "ops")
    assert page.link == "https://brownout.example/e/production/safe-mode"
    lifted = message("safe_mode_lifted")
    assert (lifted.action, lifted.ack_link) == ("resolve", "")
    assert lifted.dedupe == page.dedupe
    assert message("rollout_advanced").action == "change"
    assert message("instances_lag").ack_link == ""


def test_a_link_that_was_changed_or_made_elsewhere_is_none_of_ours() -> None:
    token = LINKS.link("msg_1", "ops").rpartition("/")[2]
    assert AckLinks(("n" * 32, "k" * 32), "").read(token) == ("msg_1", "ops"), "a previous secret key still counts"
    assert AckLinks(("n" * 32,), "").read(token) is None
    for wrong in ("", ".", "..", token[:-1], token.replace("msg_1", "msg_2"), token.replace("ops", "opz"), "é" + token):
        assert LINKS.read(wrong) is None


def test_fields_cannot_mention_people_hide_links_or_forge_headers() -> None:
    evil = message(profile="<!channel> <https://evil.example|fine>", reason="[fine](https://evil.example)\nBcc: all@x")
    assert "<!channel>" not in str(slack_body(evil))
    assert "&lt;!channel&gt;" in str(slack_body(evil))
    assert "[fine]" not in str(teams_body(evil))
    config = EmailConfig(host="mail", sender="brownout@example.com", to=("ops@example.com",))
    forged = message(profile="x\r\nBcc: all@example.com")
    assert letter(config, forged)["Bcc"] is None
    assert letter(config, evil)["Message-ID"] == "<msg_1@example.com>"
    assert alert_body("key", evil)["dedup_key"] == evil.dedupe


def test_a_kind_that_another_version_wrote_has_words_too() -> None:
    row = kind_of("pigeon_returned")
    assert (row.severity, title_of(row, {})) == (Severity.WARNING, "pigeon returned")

"""The kinds of events: one row each. Nothing else knows a kind by name but its cause and the words of its row."""

from enum import IntEnum
from typing import Literal

import msgspec

Family = Literal[
    "safe_mode", "rollout", "approval", "access", "fleet", "health", "key", "notification",
    "coverage", "budget", "trigger", "incident",
]  # fmt: skip


class Severity(IntEnum):
    """How urgent an event is. Gaps are for later ones; the numbers are what Postgres compares."""

    NOTICE = 10
    WARNING = 20
    PAGE = 30

    @property
    def word(self) -> str:
        return self.name.lower()


WORDS = tuple(severity.word for severity in Severity)


def severity_of(word: str) -> Severity:
    """Raises KeyError for a word that names none."""
    return Severity[word.upper()]


class EventKind(msgspec.Struct, frozen=True):
    """`title` is a template over the event's fields; a field that is missing reads as nothing."""

    key: str
    family: Family
    severity: Severity
    title: str
    about: tuple[str, ...] = ()
    """Fields that say what it is about besides the environment. Events about the same thing arrive in order."""
    line: str = ""
    """What the events of one course share, such as a failure and its end; empty = the kind's own key."""
    resolves: bool = False
    """It ends what an earlier event of its line began."""
    restricted: bool = False
    """Only people who may read the audit log see it in a list."""
    once: tuple[str, ...] = ()
    """Fields of which an event is written only once, however many replicas notice."""
    wire: str = ""
    """`type` in a webhook's body, when it is not the key."""
    reserved: bool = False
    """Nothing causes it yet."""
    page: str = ""
    """The console's section that shows more."""


N, W, P = Severity.NOTICE, Severity.WARNING, Severity.PAGE

_SAFE_MODE = (
    EventKind("safe_mode_on", "safe_mode", P, "Safe mode {profile} is on in {environment} for {scope}", ("activation",), "safe_mode", page="safe-mode"),
    EventKind("safe_mode_changed", "safe_mode", W, "Safe mode {profile} in {environment} now ends at {until}", ("activation",), "safe_mode", page="safe-mode"),
    EventKind("safe_mode_lifted", "safe_mode", W, "Safe mode {profile} was lifted in {environment}", ("activation",), "safe_mode", resolves=True, page="safe-mode"),
    EventKind("safe_mode_expired", "safe_mode", W, "Safe mode {profile} expired in {environment}", ("activation",), "safe_mode", resolves=True, page="safe-mode"),
    EventKind("safe_mode_overdue", "safe_mode", P, "Safe mode {profile} in {environment} is past its end and still applies", ("activation",), "safe_mode", once=("environment", "activation", "until"), page="safe-mode"),
)  # fmt: skip
_ROLLOUTS = (
    EventKind("rollout_started", "rollout", N, "Rollout {rollout} started in {environment}", ("rollout",), "rollout", page="rollouts"),
    EventKind("rollout_advanced", "rollout", N, "Rollout {rollout} in {environment} is at stage {stage} of {stages}", ("rollout",), "rollout", page="rollouts"),
    EventKind("rollout_paused", "rollout", W, "Rollout {rollout} paused in {environment}", ("rollout",), "rollout", page="rollouts"),
    EventKind("rollout_resumed", "rollout", N, "Rollout {rollout} resumed in {environment}", ("rollout",), "rollout", resolves=True, page="rollouts"),
    EventKind("rollout_rolled_back", "rollout", P, "Rollout {rollout} was rolled back in {environment}", ("rollout",), "rollout", page="rollouts"),
    EventKind("rollout_aborted", "rollout", W, "Rollout {rollout} was aborted in {environment}", ("rollout",), "rollout", page="rollouts"),
    EventKind("rollout_completed", "rollout", N, "Rollout {rollout} completed in {environment}", ("rollout",), "rollout", resolves=True, page="rollouts"),
    EventKind("rollout_finished", "rollout", N, "Rollout {rollout} finished in {environment}", ("rollout",), "rollout", resolves=True, page="rollouts"),
)  # fmt: skip
_APPROVALS = (
    EventKind("approval_waiting", "approval", W, "{actor} asks for approval in {environment}: {reason}", ("target",), "approval", page="access"),
    EventKind("approval_given", "approval", N, "{actor} approved {target} in {environment}", ("target",), "approval", page="access"),
    EventKind("approval_withdrawn", "approval", N, "{actor} withdrew {target} in {environment}", ("target",), "approval", resolves=True, page="access"),
    EventKind("approval_carried_out", "approval", N, "{actor} committed an approved proposal to {environment} as {target}", ("target",), page="history"),
    EventKind("approval_rule_changed", "approval", W, "{actor} changed the approval rule of {environment}", page="access"),
    EventKind("break_glass", "approval", P, "{actor} broke glass in {environment}: {reason}", (), "break_glass", page="access"),
    EventKind("break_glass_ended", "approval", W, "Break-glass access of {actor} ended in {environment}", (), "break_glass", page="access"),
    EventKind("break_glass_reviewed", "approval", N, "{actor} reviewed {target} in {environment}", (), "break_glass", resolves=True, page="access"),
    EventKind("approver_changed", "approval", W, "{actor} changed an approver of {environment}: {person}, {what}", restricted=True, page="access"),
)  # fmt: skip
_ACCESS = (
    EventKind("person_invited", "access", N, "{actor} invited {target}", ("target",), restricted=True, page="access"),
    EventKind("person_disabled", "access", W, "{actor} disabled the account of {target}", ("target",), restricted=True, page="access"),
    EventKind("person_enabled", "access", N, "{actor} enabled the account of {target}", ("target",), restricted=True, page="access"),
    EventKind("role_granted", "access", W, "{actor} granted {target} the role {role} in {where}", ("target",), restricted=True, page="access"),
    EventKind("role_revoked", "access", N, "{actor} revoked the role {role} of {target} in {where}", ("target",), restricted=True, page="access"),
    EventKind("second_factor_reset", "access", W, "{actor} reset the second factor of {target}", ("target",), restricted=True, page="access"),
    EventKind("addresses_changed", "access", W, "{actor} changed the allowed networks", restricted=True, page="access"),
    EventKind("recovery_code_used", "access", W, "{person} signed in with a recovery code", ("person",), restricted=True, wire="recovery code used", page="access"),
    EventKind("passkey_counter_went_back", "access", P, "The passkey {passkey} of {person} may have been copied", ("person",), restricted=True, wire="passkey counter went back", page="access"),
)  # fmt: skip
_KEYS = (
    EventKind("key_created", "key", N, "{actor} created the SDK key {target} for {environment}", ("target",), restricted=True, page="access"),
    EventKind("key_rotated", "key", N, "{actor} rotated the SDK key {target} of {environment}", ("target",), restricted=True, page="access"),
    EventKind("key_revoked", "key", W, "{actor} revoked the SDK key {target} of {environment}", ("target",), restricted=True, page="access"),
    EventKind("token_created", "key", N, "{actor} created the API token {target}", ("target",), restricted=True, page="access"),
    EventKind("token_revoked", "key", N, "{actor} revoked the API token {target}", ("target",), restricted=True, page="access"),
    EventKind("tokens_without_expiry", "key", W, "{tokens} API tokens never expire", restricted=True, page="access"),
    EventKind("signing_key_announced", "key", W, "{actor} announced a new signing key of {environment}", (), "signing_key", page="access"),
    EventKind("signing_key_switched", "key", W, "{environment} signs with a new key", (), "signing_key", page="access"),
)  # fmt: skip
_PLANE = (
    EventKind("instances_lag", "fleet", W, "{count} instances of {environment} stay behind {head}", (), "instances_lag", page="fleet"),
    EventKind("instances_lag_over", "fleet", W, "Instances of {environment} have caught up, or are gone", (), "instances_lag", resolves=True, page="fleet"),
    EventKind("health_failing", "health", P, "The check {check} fails on {replica}: {reason}", ("check", "replica"), "health", page="fleet"),
    EventKind("health_still_failing", "health", P, "The check {check} still fails on {replica}: {reason}", ("check", "replica"), "health", page="fleet"),
    EventKind("health_ok", "health", W, "The check {check} passes again on {replica}", ("check", "replica"), "health", resolves=True, page="fleet"),
    EventKind("environment_changed", "access", N, "{actor} changed the environment {environment}", page="history"),
    EventKind("channel_failing", "notification", P, "The channel {channel} takes no notifications: {reason}", ("channel",), "channel", page="notifications"),
    EventKind("channel_works_again", "notification", W, "The channel {channel} takes notifications again", ("channel",), "channel", resolves=True, page="notifications"),
    EventKind("channel_changed", "notification", W, "{actor} changed notifications: {what}", page="notifications"),
    EventKind("channel_test", "notification", N, "Test of the channel {channel}", ("channel",), page="notifications"),
    EventKind("acknowledged", "notification", W, "{by} acknowledged: {title}", page="notifications"),
)  # fmt: skip
_RESERVED = (
    EventKind("coverage_lost", "coverage", W, "A commit to {environment} loses coverage", reserved=True),
    EventKind("budget_low", "budget", W, "The budget {budget} of {environment} is nearly spent", ("budget",), "budget", reserved=True),
    EventKind("budget_exhausted", "budget", P, "The budget {budget} of {environment} is spent", ("budget",), "budget", reserved=True),
    EventKind("trigger_notified", "trigger", W, "The trigger {trigger} of {environment} fired", ("trigger",), "trigger", reserved=True),
    EventKind("trigger_proposed", "trigger", P, "The trigger {trigger} of {environment} proposes safe mode", ("trigger",), "trigger", reserved=True),
    EventKind("incident_opened", "incident", P, "Incident in {environment}: {title}", ("incident",), "incident", reserved=True),
    EventKind("incident_resolved", "incident", W, "Incident in {environment} resolved: {title}", ("incident",), "incident", resolves=True, reserved=True),
)  # fmt: skip

ROWS = (*_SAFE_MODE, *_ROLLOUTS, *_APPROVALS, *_ACCESS, *_KEYS, *_PLANE, *_RESERVED)
KINDS = {row.key: row for row in ROWS}
FAMILIES = tuple(dict.fromkeys(row.family for row in ROWS))
BY_WIRE = {row.wire: row for row in ROWS if row.wire}


def kind_of(key: str) -> EventKind:
    """The row of `key`. A kind that another version wrote gets a row that shows what can be shown."""
    return KINDS.get(key) or BY_WIRE.get(key) or EventKind(key, "notification", Severity.WARNING, key.replace("_", " "))

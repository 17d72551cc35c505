"""What in a commit or in an audit entry is an event. Pure, and lenient: what cannot be read tells nothing."""

from collections.abc import Iterator

from brownout.model.resources import Rollout, SafeModeActivation
from controlplane.access.values import Entry
from controlplane.access.values import Event as Audited
from controlplane.configuration.store.values import Change, Commit
from controlplane.contract.specs import find_spec
from controlplane.notify.events import NewEvent, new_event

EXPIRY = "system:expiry"
MAX_OF_ONE_COMMIT = 50

ROLLOUT_STATES = {
    "paused": "rollout_paused",
    "completed": "rollout_completed",
    "finished": "rollout_finished",
    "rolled_back": "rollout_rolled_back",
    "aborted": "rollout_aborted",
}

AUDITED = {
    Audited.PROPOSED: "approval_waiting",
    Audited.APPROVED: "approval_given",
    Audited.PROPOSAL_WITHDRAWN: "approval_withdrawn",
    Audited.RULE_CHANGED: "approval_rule_changed",
    Audited.BREAK_GLASS_ENDED: "break_glass_ended",
    Audited.BREAK_GLASS_REVIEWED: "break_glass_reviewed",
    Audited.PERSON_INVITED: "person_invited",
    Audited.PERSON_DISABLED: "person_disabled",
    Audited.PERSON_ENABLED: "person_enabled",
    Audited.ROLE_GRANTED: "role_granted",
    Audited.ROLE_REVOKED: "role_revoked",
    Audited.SECOND_FACTOR_RESET: "second_factor_reset",
    Audited.ADDRESSES_CHANGED: "addresses_changed",
    Audited.KEY_CREATED: "key_created",
    Audited.KEY_ROTATED: "key_rotated",
    Audited.KEY_REVOKED: "key_revoked",
    Audited.TOKEN_CREATED: "token_created",
    Audited.TOKEN_REVOKED: "token_revoked",
    Audited.SIGNING_KEY_ANNOUNCED: "signing_key_announced",
    Audited.SIGNING_KEY_SWITCHED: "signing_key_switched",
    Audited.ENVIRONMENT_CHANGED: "environment_changed",
    Audited.NOTIFICATIONS_CHANGED: "channel_changed",
}
"""What the audit log says → what people are told. Broken glass tells of itself, before its entry."""


def of_commit(commit: Commit) -> list[NewEvent]:
    """At most MAX_OF_ONE_COMMIT: an import of thousands is one act of one person."""
    found: list[NewEvent] = []
    for change in commit.changes:
        found.extend(_of_change(commit, change))
        if len(found) >= MAX_OF_ONE_COMMIT:
            break
    return found


def _of_change(commit: Commit, change: Change) -> Iterator[NewEvent]:
    if change.kind == "safe_mode_activation":
        yield from _of_activation(commit, change)
    elif change.kind == "rollout":
        yield from _of_rollout(commit, change)


def _of_activation(commit: Commit, change: Change) -> Iterator[NewEvent]:
    spec = find_spec(change.after if change.after is not None else change.before, SafeModeActivation)
    if change.after is None:
        key = "safe_mode_expired" if commit.author == EXPIRY else "safe_mode_lifted"
    else:
        key = "safe_mode_on" if change.before is None else "safe_mode_changed"
    fields = {"environment": commit.environment, "activation": change.key}
    if spec is not None:
        fields |= {
            "profile": spec.profile,
            "scope": _scope(spec),
            "reason": spec.reason,
            "until": spec.expires_at.isoformat(),
            "incident": spec.incident or "",
        }
    fields |= {"actor": commit.author, "revision": f"r{commit.revision}", "message": commit.message}
    yield new_event(key, {name: text for name, text in fields.items() if text})


def _scope(spec: SafeModeActivation) -> str:
    scope = spec.scope
    named = [*scope.services, *scope.request_classes, *scope.cohorts, *scope.providers]
    return ", ".join(named[:10]) + (f" and {len(named) - 10} more" if len(named) > 10 else "") or "everything"


def _of_rollout(commit: Commit, change: Change) -> Iterator[NewEvent]:
    after = find_spec(change.after, Rollout) if change.after is not None else None
    if after is None:
        return
    before = find_spec(change.before, Rollout) if change.before is not None else None
    now, was = after.progress, before.progress if before is not None else None
    state = was.state if was is not None else "draft"
    key = ROLLOUT_STATES.get(now.state) if now.state != state else None
    if now.state == "running":
        if was is None or now.run != was.run:
            key = "rollout_started"
        elif now.stage > was.stage:
            key = "rollout_advanced"
        elif state == "paused":
            key = "rollout_resumed"
    if key is None:
        return
    fields = {
        "environment": commit.environment, "rollout": change.key, "flag": after.flag,
        "control": after.control, "treatment": after.treatment,
        "stage": str(now.stage + 1), "stages": str(len(after.stages)),
        "why": now.why, "actor": commit.author, "revision": f"r{commit.revision}",
    }  # fmt: skip
    yield new_event(key, {name: text for name, text in fields.items() if text})


def of_entry(entry: Entry) -> list[NewEvent]:
    """None for what was refused: refusals are the audit log's."""
    if entry.outcome != "ok":
        return []
    key = AUDITED.get(entry.event)
    if entry.event is Audited.COMMIT and entry.detail.get("allowed_by") == "approved":
        key = "approval_carried_out"
    if key is None:
        return []
    detail = {name: str(value) for name, value in entry.detail.items()}
    fields = {
        **detail, "environment": entry.environment, "actor": entry.actor, "target": entry.target,
        "reason": entry.reason, "what": entry.target,
    }  # fmt: skip
    if key != "channel_changed":
        del fields["what"]
    return [new_event(key, {name: text for name, text in fields.items() if text})]

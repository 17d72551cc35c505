"""Every place that publishes on NATS, and what it publishes to. A new one stands here after somebody has judged it."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SENDS = {"publish", "request", "respond"}

JUDGED = {
    # Made of the environment's key, which the control plane knows by itself.
    ("controlplane/publish/fallback.py", "publish", "self._subject"),
    # Of an environment that Postgres has: a message of any other is not taken.
    ("controlplane/emergency/loops.py", "publish", "wire.Subjects(told.environment).emergency"),
    ("controlplane/emergency/loops.py", "publish", "told"),
    ("controlplane/emergency/service.py", "publish", "known.on.told"),
    ("controlplane/emergency/service.py", "publish", "told"),
    ("controlplane/publish/heartbeat.py", "publish", "self._subjects.heartbeat"),
    ("controlplane/kit/jetstream.py", "publish", "message.subject"),
    ("controlplane/kit/jetstream.py", "request", "f'$JS.API.{verb}'"),
    # Of the subject that the server let an instance speak on, not of what the message says.
    ("controlplane/kit/link.py", "publish", "acknowledgement_of(self.subject)"),
    ("controlplane/kit/link.py", "publish", "lease_of(self.subject)"),
    # Of names that the control plane computes: counters of budget windows are named by hashes of ours.
    ("controlplane/kit/jetstream.py", "publish", "f'$JS.API.DIRECT.GET.{stream}'"),
    ("controlplane/kit/jetstream.py", "request", "subject"),
    # A question that a NATS server asked in the account AUTH, where no SDK is; the signature is checked first.
    ("controlplane/access/authd.py", "respond", "self._callout.answer(message.data, self._now_ms())"),
    # In the system account.
    ("controlplane/access/kick.py", "publish", "f'$SYS.REQ.SERVER.{server}.KICK'"),
    ("controlplane/access/kick.py", "publish", "subject"),
    # The SDK's own.
    ("sdk/src/brownout/_sync/lessee.py", "publish", "self._request_subject"),
    ("sdk/src/brownout/_sync/direct.py", "publish", "self._prefix + stream"),
    ("sdk/src/brownout/_sync/reporter.py", "publish", "self._telemetry_subject"),
    ("sdk/src/brownout/_sync/reporter.py", "publish", "subject"),
}
OVER_HTTP = ("controlplane/cli/", "controlplane/demo/", "controlplane/api/", "controlplane/web/")
WITHOUT_MESSAGES = ("sdk/src/brownout/runner/",)
"""An import contract keeps NATS out of it."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("controlplane", "sdk/src/brownout"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            name = str(file.relative_to(ROOT))
            if not name.startswith(OVER_HTTP + WITHOUT_MESSAGES):
                yield name, ast.parse(file.read_text())


def calls(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in SENDS
            and node.args
        ):
            yield node.func.attr, ast.unparse(node.args[0])


def test_every_subject_that_is_published_to_was_judged() -> None:
    found = {(name, how, subject) for name, tree in sources() for how, subject in calls(tree)}
    ours = {
        each
        for each in found
        if not each[2].startswith(("messages", "[message]", "window", "'GET'", "'POST'", "rows", "batch"))
    }
    assert ours == JUDGED


def test_nobody_reads_where_a_message_wants_to_be_answered() -> None:
    """But the link, which keeps only that it does."""
    readers = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "reply" and isinstance(node.ctx, ast.Load)
    }
    assert readers == {"controlplane/kit/link.py"}


def test_handlers_are_given_what_was_heard_and_not_nats_own_message() -> None:
    own = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "nats.aio.msg"
    }
    assert own <= {
        "controlplane/kit/link.py", "controlplane/kit/jetstream.py", "controlplane/access/authd.py",
        "sdk/src/brownout/_sync/connection.py", "sdk/src/brownout/_sync/direct.py",
    }  # fmt: skip

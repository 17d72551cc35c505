"""Each sender speaks its protocol to a local server that checks what it gets, and that fails as the real one does."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest
import trustme

from controlplane.notify.acks import AckLinks
from controlplane.notify.compose import compose
from controlplane.notify.configs import read_config
from controlplane.notify.events import new_event
from controlplane.notify.reach import Reach, UnreachableError, url_fault
from controlplane.notify.senders.email import EmailSender
from controlplane.notify.senders.http import Poster
from controlplane.notify.senders.message import Message, Sender, Sent
from controlplane.notify.senders.pagerduty import PagerDutySender
from controlplane.notify.senders.slack import SlackSender
from controlplane.notify.senders.teams import TeamsSender
from controlplane.notify.senders.webhook import WebhookSender
from tests.integration.notifying import LOCAL, SECRET, Receiver, listening
from tests.support import SECRET_KEY

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 27, 3, 12, tzinfo=UTC)
HOST = "hooks.example.com"
PATIENT_S, HASTY_S = 30.0, 0.3
"""How long senders wait: for answers that come, and for one that never does."""


def message(kind: str = "break_glass", **data: str) -> Message:
    fields = {"environment": "production", "actor": "ed@example.com", "reason": "the queue <b> is on fire", **data}
    made = new_event(kind, fields)
    return compose(
        kind, message_id="msg_1", environment="production", severity=made.severity, dedupe=made.dedupe, data=made.data,
        at=NOW, now=NOW, channel="ops", links=AckLinks((SECRET_KEY,), "https://b.example"), url="https://b.example",
    )  # fmt: skip


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with listening() as made:
        yield made


def config(**fields: object) -> bytes:
    return msgspec.json.encode(fields)


async def test_slack_gets_text_for_the_phone_and_blocks_for_the_channel(receiver: Receiver) -> None:
    receiver.always = "200 OK"
    assert await SlackSender(Poster(LOCAL)).send(config(url=receiver.url), message()) == Sent()
    (heard,) = receiver.heard
    assert heard.headers["content-type"] == "application/json"
    assert heard.json["text"] == "ed@example.com broke glass in production: the queue &lt;b&gt; is on fire"
    first, second = heard.json["blocks"]
    assert first["text"]["type"] == "mrkdwn"
    assert "<b>" not in first["text"]["text"]
    assert second["text"]["text"].startswith("<https://b.example/ack/msg_1.ops.")


async def test_teams_gets_an_adaptive_card_in_a_message(receiver: Receiver) -> None:
    receiver.always = "202 Accepted"
    assert await TeamsSender(Poster(LOCAL)).send(config(url=receiver.url), message()) == Sent()
    (attachment,) = receiver.heard[0].json["attachments"]
    assert receiver.heard[0].json["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"], card["body"][0]["color"]) == ("AdaptiveCard", "1.4", "attention")
    assert [action["title"] for action in card["actions"]] == ["Acknowledge", "Open"]


async def test_pagerduty_is_triggered_acknowledged_and_resolved_under_one_key(receiver: Receiver) -> None:
    receiver.always = "202 Accepted"
    pager, into = PagerDutySender(Poster(LOCAL)), config(routing_key="r" * 32, url=receiver.url.rpartition("/hook")[0])
    acknowledged = msgspec.structs.replace(message("acknowledged", by="mara"), dedupe=message().dedupe)
    for each in (message(), acknowledged, message("break_glass_reviewed"), message("rollout_advanced")):
        assert await pager.send(into, each) == Sent()
    paths = [heard.path for heard in receiver.heard]
    assert paths == ["/v2/enqueue"] * 3 + ["/v2/change/enqueue"], "a notice wakes no one"
    trigger, ack, resolve, change = (heard.json for heard in receiver.heard)
    assert [each["event_action"] for each in (trigger, ack, resolve)] == ["trigger", "acknowledge", "resolve"]
    assert trigger["dedup_key"] == ack["dedup_key"] == resolve["dedup_key"] == "break_glass/production"
    assert trigger["payload"]["severity"] == "critical"
    assert trigger["payload"]["timestamp"] == NOW.isoformat()
    assert trigger["payload"]["source"] == "brownout production"
    assert {each["routing_key"] for each in (trigger, ack, resolve, change)} == {"r" * 32}


HTTP: dict[str, Callable[[Poster, str], tuple[Sender, bytes]]] = {
    "webhook": lambda poster, url: (WebhookSender(poster), config(url=url, secret=SECRET)),
    "slack": lambda poster, url: (SlackSender(poster), config(url=url)),
    "teams": lambda poster, url: (TeamsSender(poster), config(url=url)),
    "pagerduty": lambda poster, url: (PagerDutySender(poster), config(url=url, routing_key="r" * 32)),
}


@pytest.mark.parametrize("kind", HTTP)
async def test_what_a_server_answers_decides_what_comes_next(kind: str, receiver: Receiver) -> None:
    sender, into = HTTP[kind](Poster(LOCAL, PATIENT_S), receiver.url)
    hasty, _ = HTTP[kind](Poster(LOCAL, HASTY_S), receiver.url)
    refused = "later" if kind == "webhook" else "message"
    for answer, sent in {
        "429 Slow down\r\nRetry-After: 30": Sent("status 429", 30, "later"),
        "429 Slow down\r\nRetry-After: Fri, 27 Nov 2026 03:12:00 GMT": Sent("status 429", 0, "later"),
        "500 Broken": Sent("status 500", 0, "later"),
        "503 Broken\r\nRetry-After: 999999": Sent("status 503", 3600, "later"),
        "400 invalid_payload": Sent("status 400", 0, refused),
        "413 Too large": Sent("status 413", 0, refused),
        "404 no_service": Sent("status 404", 0, "channel"),
        "410 channel_is_archived": Sent("status 410", 0, "channel"),
        "403 invalid_token": Sent("status 403", 0, "channel"),
        "308 Moved\r\nLocation: http://127.0.0.1:9/": Sent("status 308", 0, "later"),
        "close": Sent("RemoteProtocolError", 0, "later"),
        "hang": Sent("TimeoutError", 0, "later"),
    }.items():
        receiver.answers = [answer]
        got = await (hasty if answer == "hang" else sender).send(into, message())
        assert got == sent or (answer == "hang" and got.fault == "later" and "Timeout" in got.error), answer
    receiver.port = 9
    sender, into = HTTP[kind](Poster(LOCAL, PATIENT_S), receiver.url)
    assert (await sender.send(into, message())).fault == "later"


class MailServer:
    """SMTP as far as a client needs it. `answers` are given in place of the usual one, by verb."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, str] = {}
        self.letters: list[bytes] = []
        self.verbs: list[str] = []
        self.greeted_by = ""
        self.port = 0
        self._tls = tls

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        encrypted = False
        try:
            writer.write(b"220 mail.example ESMTP\r\n")
            while line := (await reader.readline()).decode().strip():
                verb = line.split()[0].upper()
                self.verbs.append(verb)
                if verb == "EHLO":
                    self.greeted_by = line.split()[1]
                answer = self.answers.get(verb) or self._usual(verb, encrypted=encrypted)
                if answer == "close":
                    return
                if answer == "hang":
                    await reader.read()
                    return
                writer.write(answer.encode() + b"\r\n")
                if verb == "STARTTLS" and self._tls is not None:
                    await writer.drain()
                    await writer.start_tls(self._tls)
                    encrypted = True
                if verb == "DATA" and answer.startswith("354"):
                    self.letters.append(await reader.readuntil(b"\r\n.\r\n"))
                    writer.write((self.answers.get("END") or "250 kept").encode() + b"\r\n")
                if verb == "QUIT":
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _usual(self, verb: str, *, encrypted: bool) -> str:
        if verb == "EHLO":
            extra = "250-AUTH PLAIN\r\n" if encrypted or self._tls is None else "250-STARTTLS\r\n"
            return f"250-mail.example\r\n{extra}250 8BITMIME"
        return {"DATA": "354 go on", "AUTH": "235 welcome", "QUIT": "221 bye", "STARTTLS": "220 go on"}.get(
            verb, "250 ok"
        )


@asynccontextmanager
async def mailing(tls: ssl.SSLContext | None = None) -> AsyncIterator[MailServer]:
    made = MailServer(tls)
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made


def mail_config(server: MailServer, **fields: Any) -> bytes:
    given = {"host": "127.0.0.1", "port": server.port, "security": "none", "sender": "brownout@example.com",
             "to": ["ops@example.com", "mara@example.com"]}  # fmt: skip
    return config(**given | fields)


async def test_a_letter_arrives_as_plain_text() -> None:
    async with mailing() as server:
        assert await EmailSender(LOCAL).send(mail_config(server), message()) == Sent()
    letter = message_from_bytes(server.letters[0].removesuffix(b".\r\n"), policy=default)
    assert letter["Subject"].strip() == "[page] ed@example.com broke glass in production: the queue <b> is on fire"
    assert letter["To"] == "ops@example.com, mara@example.com"
    assert letter["Message-ID"] == "<msg_1@example.com>"
    assert server.greeted_by == "example.com", "the sender's domain, whatever this machine calls itself"
    assert "Acknowledge: https://b.example/ack/msg_1.ops." in letter.get_content()


async def test_what_a_mail_server_answers_decides_what_comes_next() -> None:
    for verb, answer, fault in (
        ("EHLO", "421 too busy", "later"),
        ("MAIL", "451 later", "later"),
        ("EHLO", "554 you are blocked", "channel"),
        ("MAIL", "550 no such sender", "channel"),
        ("MAIL", "552 too large", "message"),
        ("RCPT", "450 greylisted", "later"),
        ("RCPT", "550 no such mailbox", "channel"),
        ("DATA", "554 no", "message"),
        ("END", "451 disk full", "later"),
        ("END", "554 spam", "message"),
        ("DATA", "close", "later"),
        ("MAIL", "hang", "later"),
    ):
        async with mailing() as server:
            server.answers = {verb: answer, **({"HELO": answer} if verb == "EHLO" else {})}
            sender = EmailSender(LOCAL, timeout_s=HASTY_S if answer == "hang" else PATIENT_S)
            sent = await sender.send(mail_config(server), message())
        assert (sent.fault, bool(sent.error)) == (fault, True), (verb, answer, sent)
        assert "example.com" not in sent.error


@pytest.fixture(scope="module")
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(server's, client's): for HOST, by an authority of this test's."""
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def leading(*addresses: str) -> Callable[[str, int], Any]:
    """A resolver that gives one answer after the other, as an attacker's would."""
    left = list(addresses)

    async def lookup(_host: str, _port: int) -> list[str]:
        return [left.pop(0)]

    return lookup


async def test_starttls_and_a_password_only_over_it(certificates: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server_tls, client_tls = certificates
    reach = Reach((ip_network("127.0.0.0/8"),), leading("127.0.0.1", "127.0.0.1", "127.0.0.1"))
    sender, secure = EmailSender(reach, client_tls), {"host": HOST, "security": "starttls"}
    async with mailing(server_tls) as server:
        into = mail_config(server, **secure, username="brownout", password="hush")
        assert await sender.send(into, message()) == Sent()
        assert server.verbs.index("STARTTLS") < server.verbs.index("AUTH")
        server.answers = {"AUTH": "535 no"}
        refused = await sender.send(into, message())
    assert refused == Sent("the mail server refuses the user name or password", fault="channel")
    async with mailing() as plain:
        sent = await sender.send(mail_config(plain, **secure, username="brownout", password="hush"), message())
    assert sent.error
    assert "AUTH" not in plain.verbs, "a server without TLS gets no password"


async def test_the_name_is_resolved_once_and_the_certificate_is_of_the_name(
    certificates: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    """A name that leads elsewhere the second time leads nowhere else; TLS still proves the name."""
    server_tls, client_tls = certificates
    receiver = Receiver()
    async with await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=server_tls) as server:
        port = server.sockets[0].getsockname()[1]
        reach = Reach((ip_network("127.0.0.0/8"),), leading("127.0.0.1", "127.0.0.1"))
        poster = Poster(reach, tls=client_tls)
        assert await poster.post(f"https://{HOST}:{port}/x", b"{}") == Sent()
        wrong = await poster.post(f"https://other.example.com:{port}/x", b"{}")
    assert receiver.heard[0].headers["host"] == f"{HOST}:{port}"
    assert (wrong.error, len(receiver.heard)) == ("ConnectError", 1)


PRIVATE = (
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::a00:1", "2002:7f00:1::", "ff02::1", "::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b:1::a00:1", "fec0::1",
)  # fmt: skip


async def test_private_addresses_are_reached_only_where_they_are_listed() -> None:
    reach, listed = Reach(), Reach((ip_network("10.0.0.0/8"),))
    for address in PRIVATE:
        assert not reach.allowed(ip_address(address)), address
        with pytest.raises(UnreachableError) as refused:
            await Reach(lookup=leading(address)).resolve("innocent.example", 443, encrypted=True)
        assert address not in refused.value.message
    for address in ("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"):
        assert reach.allowed(ip_address(address))
        assert await Reach(lookup=leading(address)).resolve("x", 443, encrypted=True) == address
        with pytest.raises(UnreachableError, match="encrypt"):
            await Reach(lookup=leading(address)).resolve("x", 80, encrypted=False)
    assert await listed.resolve("10.1.2.3", 80, encrypted=False) == "10.1.2.3"
    assert await listed.resolve("::ffff:10.1.2.3", 80, encrypted=False)
    with pytest.raises(UnreachableError):
        await listed.resolve("127.0.0.1", 443, encrypted=True)


async def test_only_the_address_of_the_settings_goes_through_a_proxy(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert await Poster(LOCAL, PATIENT_S).post(receiver.url, b"{}") == Sent()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{receiver.port}")
    assert await Poster(None, PATIENT_S).post("http://receiver.invalid/hook", b"{}") == Sent()
    assert [heard.path for heard in receiver.heard] == ["/hook/very-secret", "http://receiver.invalid/hook"]


async def test_a_forbidden_address_is_said_without_being_tried(receiver: Receiver) -> None:
    sent = await SlackSender(Poster(Reach())).send(config(url=receiver.url), message())
    assert sent == Sent("the channel leads to a private address", fault="channel")
    assert receiver.heard == []
    async with mailing() as server:
        sent = await EmailSender(Reach()).send(mail_config(server), message())
    assert (sent.fault, server.verbs) == ("channel", [])


@pytest.mark.parametrize(
    ("kind", "given", "pointer"),
    [
        ("webhook", {"url": "https://x.example", "secret": "whsec_short"}, "/config/secret"),
        ("webhook", {"url": "https://x.example"}, "/config/secret"),
        ("slack", {"url": "ftp://x.example"}, "/config/url"),
        ("slack", {"url": "https://me:hush@x.example"}, "/config/url"),
        ("slack", {"url": "https://x.example:99999"}, "/config/url"),
        ("slack", {"url": "https://x.example/\u2028"}, "/config/url"),
        ("slack", {"url": 7}, "/config/url"),
        ("slack", {"url": "https://x.example", "extra": 1}, "/config/extra"),
        ("pagerduty", {"routing_key": "no spaces here"}, "/config/routing_key"),
        ("pagerduty", {"routing_key": "r" * 31}, "/config/routing_key"),
        ("email", {"host": "m", "sender": "a@b", "to": ["a@b", "x\r\nBcc: y@z"]}, "/config/to/1"),
        ("email", {"host": "m", "sender": "a@b", "to": []}, "/config/to"),
        ("email", {"host": "m", "sender": "a@b", "to": ["a@b"], "port": 0}, "/config/port"),
        ("email", {"host": "m", "sender": "a@b", "to": ["a@b"], "security": "none", "password": "x"}, "/config/password"),
        ("inbox", {}, "/kind"),
        ("pigeon", {}, "/kind"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_and_no_secret_repeated(kind: str, given: dict[str, object], pointer: str) -> None:
    read = read_config(kind, given, inbox=False)
    assert [fault.pointer for fault in read.faults] == [pointer]
    assert "hush" not in str(read.faults)


def test_a_target_shows_where_a_channel_leads_and_no_secret() -> None:
    url = "https://hooks.slack.example/services/T0/B0/very-secret"
    assert read_config("slack", {"url": url}, inbox=False).target == "hooks.slack.example"
    assert read_config("pagerduty", {"routing_key": "abcdefghijklmnop" * 2}, inbox=False).target == "…mnop"
    assert url_fault("https://[::1") == "not a URL"

"""E-mail by SMTP, in plain text."""

import asyncio
import socket
import ssl
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from controlplane.notify.reach import Reach, UnreachableError
from controlplane.notify.senders.message import Fault, Message, Sent

if TYPE_CHECKING:
    import aiosmtplib

TIMEOUT_S = 20.0
TOO_LARGE = 552
MAX_SUBJECT = 200


class EmailConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`security`: TLS from the start, by STARTTLS, or none at all, which only listed private networks may have."""

    host: str
    sender: str
    to: tuple[str, ...]
    port: int = 587
    security: Literal["tls", "starttls", "none"] = "starttls"
    username: str = ""
    password: str = ""


class EmailSender:
    def __init__(self, reach: Reach, context: ssl.SSLContext | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._reach = reach
        self._context = context
        self._timeout_s = timeout_s

    async def send(self, config: bytes, message: Message) -> Sent:
        import aiosmtplib

        into = msgspec.json.decode(config, type=EmailConfig)
        try:
            async with asyncio.timeout(self._timeout_s):
                address = await self._reach.resolve(into.host, into.port, encrypted=into.security != "none")
                client = aiosmtplib.SMTP(
                    hostname=into.host,
                    local_hostname=_domain(into),  # asking for this machine's own name may take as long as its DNS
                    sock=await _connected(address, into.port),
                    use_tls=into.security == "tls",
                    start_tls=into.security == "starttls",
                    username=into.username or None,
                    password=into.password or None,
                    tls_context=self._context or ssl.create_default_context(),
                    timeout=self._timeout_s,
                )
                async with client:
                    await client.send_message(letter(into, message))
        except UnreachableError as error:
            return Sent(error.message, fault="channel" if error.forbidden else "later")
        except aiosmtplib.SMTPAuthenticationError:
            return Sent("the mail server refuses the user name or password", fault="channel")
        except aiosmtplib.SMTPRecipientsRefused as error:
            permanent = all(each.code >= 500 for each in error.recipients)
            return Sent("the mail server refuses the recipients", fault="channel" if permanent else "later")
        except aiosmtplib.SMTPResponseException as error:
            return Sent(f"SMTP code {error.code}", fault=_fault_of(error) if error.code >= 500 else "later")
        except Exception as error:  # noqa: BLE001 - whatever a mail server does, it is tried again later
            return Sent(type(error).__name__, fault="later")
        return Sent()


def _fault_of(error: "aiosmtplib.SMTPResponseException") -> Fault:
    """What a refusal for good is about. Before the letter itself is sent, a server refuses the sender or the client,
    except with code 552, by which it refuses the letter's size."""
    import aiosmtplib

    return "message" if isinstance(error, aiosmtplib.SMTPDataError) or error.code == TOO_LARGE else "channel"


async def _connected(address: str, port: int) -> socket.socket:
    """A connection to the very address that was checked."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


def letter(config: EmailConfig, message: Message) -> EmailMessage:
    """One thread a course of events: what is about the same thing refers to the same id."""
    made = EmailMessage()
    mark = f"[{message.severity}] " if message.action == "trigger" else ""
    made["Subject"] = _line(mark + message.title)[:MAX_SUBJECT]
    made["From"] = config.sender
    made["To"] = ", ".join(config.to)
    made["Date"] = format_datetime(datetime.fromisoformat(message.at))
    made["Message-ID"] = f"<{message.message_id}@{_domain(config)}>"
    made["Auto-Submitted"] = "auto-generated"
    links = [f"{label}: {link}" for label, link in (("Acknowledge", message.ack_link), ("Open", message.link)) if link]
    made.set_content("\n".join((message.title, "", *message.lines, "", *links)) + "\n")
    return made


def _domain(config: EmailConfig) -> str:
    return config.sender.rpartition("@")[2].rstrip(">") or "brownout.invalid"


def _line(text: str) -> str:
    return " ".join(text.split())

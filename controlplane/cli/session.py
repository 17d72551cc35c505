"""One CLI call's connection to the API: where it is, who we are, how answers are printed."""

import os
import sys
from contextlib import suppress
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from controlplane.contract.problems import OUTCOMES, REFUSED, UNREACHABLE, USAGE, Problem

if TYPE_CHECKING:
    from controlplane.cli.client import Response

T = TypeVar("T")

JSON = {"Content-Type": "application/json"}

PASS_HEADER = "Brownout-Pass"  # noqa: S105 - the name of a header

DATA_DIR = ".brownout"
"""Where `brownout up` keeps its data unless told, and where the other verbs look."""


USER_FILE = Path.home() / ".config" / "brownout" / "cli.json"
"""Where `brownout login` keeps its token, for when no data directory is near."""


STEP_UP_ADVICE = "In a script, use a token made with `brownout token create --sensitive`; else run this in a terminal"


class CliError(Exception):
    """Ends the verb with one message and one exit code."""

    def __init__(self, message: str, exit_code: int = REFUSED, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.problem = problem


class Target(msgspec.Struct, frozen=True):
    """`cli.json`, written by `brownout up` (0600)."""

    url: str
    token: str
    nats_url: str = ""
    operator_pass: str = ""
    """Switches safe mode while the control plane's database is away."""


def find_target(url: str, token: str, data_dir: str) -> Target:
    """From options, else the environment, else `cli.json` of a data directory here or above, else what `login` kept.

    Raises:
        CliError: there is none, or the token is none. A token is never part of the message.
    """
    url = (url or os.environ.get("BROWNOUT_URL", "")).strip()
    token = _token(token or os.environ.get("BROWNOUT_TOKEN", ""))
    if url:
        return Target(url.rstrip("/"), token)
    for folder in data_dirs(data_dir or os.environ.get("BROWNOUT_DATA_DIR", "")):
        file = folder / "cli.json"
        try:
            found = msgspec.json.decode(file.read_bytes(), type=Target)
        except FileNotFoundError:
            continue
        except (OSError, msgspec.DecodeError) as error:
            raise CliError(f"cannot use {file}: {error}", UNREACHABLE) from None
        return Target(
            found.url, token or _token(found.token), found.nats_url, "" if token else _token(found.operator_pass)
        )
    raise CliError(
        "no control plane known: run `brownout login`, set BROWNOUT_URL and BROWNOUT_TOKEN, or run where `brownout up` keeps its data",
        UNREACHABLE,
    )


def _token(given: str) -> str:
    """Without the line break that comes with a file or a copy; what no header can carry is refused, and not repeated."""
    token = given.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise CliError("the token holds characters that no token has: was it pasted whole, and nothing else?", USAGE)
    return token


def data_dirs(given: str) -> list[Path]:
    if given:
        return [Path(given)]
    here = Path.cwd()
    return [*(folder / DATA_DIR for folder in (here, *here.parents)), USER_FILE.parent]


def keep_pass(target: Target, operator_pass: str) -> None:
    """Puts a newer operator pass into the `cli.json` that the target came from; best effort."""
    for folder in data_dirs(os.environ.get("BROWNOUT_DATA_DIR", "")):
        file = folder / "cli.json"
        with suppress(OSError, msgspec.MsgspecError):
            found = msgspec.json.decode(file.read_bytes(), type=Target)
            if (found.url, found.token) == (target.url, target.token):
                write_private(file, msgspec.structs.replace(found, operator_pass=operator_pass))
                return


def write_private(file: Path, target: Target) -> None:
    """All or nothing, readable by this user only. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = file.with_suffix(f".{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(msgspec.json.encode(target))
    partial.replace(file)


def find_nearer() -> Path | None:
    """The `cli.json` here or above that comes before what `login` kept."""
    nearest = next((found for folder in data_dirs("") if (found := folder / "cli.json").exists()), USER_FILE)
    return None if nearest == USER_FILE else nearest


_READS = {"GET", "HEAD"}


class Session:
    """Sends requests; a refusal becomes a CliError that carries the server's problem."""

    def __init__(self, target: Target, environment: str) -> None:
        self.target = target
        self.environment = environment
        self.changed = False
        """Whether something was changed: from then on nothing may make this call look refused."""
        from controlplane.cli.client import Client  # no help text and no completion waits for it

        shown = {"Authorization": f"Bearer {target.token}", PASS_HEADER: target.operator_pass} if target.token else {}
        self._http = Client(target.url + "/api/v1", shown)

    def path(self, *parts: str) -> str:
        return "/".join(["/environments", *(quote(part, safe="") for part in (self.environment, *parts))])

    def request(self, method: str, path: str, **options: Any) -> "Response":
        """Raises CliError: refused by the server, or no server answers."""
        response = self._send(method, path, **options)
        if not response.ok:
            refusal = _refusal(response)
            if refusal.problem is None or refusal.problem.code != "step_up_required":
                raise refusal
            self._prove(refusal.problem)
            response = self._send(method, path, **options)
        if not response.ok:
            raise _refusal(response)
        self.changed = self.changed or method not in _READS
        return response

    def _send(self, method: str, path: str, **options: Any) -> "Response":
        from controlplane.cli.client import NoAnswerError

        try:
            response = self._http.request(method, path, **options)
            if renewed := response.headers.get(PASS_HEADER):
                keep_pass(self.target, renewed)
            return response
        except NoAnswerError as error:
            raise CliError(f"{self.target.url} does not answer ({error})", UNREACHABLE) from None

    def _prove(self, problem: Problem) -> None:
        """Asks the person at the terminal for what is missing. Raises CliError if there is no terminal, or no answer."""
        field = next((name for name in ("code", "password", "recovery") if name in problem.proofs), "")
        if not field or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CliError(f"{problem.detail}. {STEP_UP_ADVICE}", REFUSED, problem)
        words = {"code": "Code of your authenticator app", "recovery": "One of your recovery codes"}
        sys.stderr.write("This is sensitive: confirm that it is you.\n")
        given = getpass(f"{words.get(field, 'Password')}: ")
        proof = msgspec.json.encode({"password" if field == "password" else "code": given})
        response = self._send("POST", "/session/proof", content=proof, headers=JSON)
        if not response.ok:
            raise _refusal(response)

    def get(self, path: str, type_: type[T], **params: Any) -> T:
        wanted = {name: value for name, value in params.items() if value not in (None, "")}
        return msgspec.json.decode(self.request("GET", path, params=wanted).content, type=type_)

    def send(self, method: str, path: str, body: object, type_: type[T], headers: dict[str, str] | None = None) -> T:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        response = self.request(method, path, content=content, headers={**JSON, **(headers or {})})
        return msgspec.json.decode(response.content, type=type_)


def _refusal(response: "Response") -> CliError:
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.DecodeError:
        return CliError(f"HTTP {response.status} from {response.url}: not a Brownout control plane?", UNREACHABLE)
    outcome = OUTCOMES.get(problem.code)
    return CliError(problem.detail, outcome.exit_code if outcome else REFUSED, problem)

"""Specs that verbs read from files, and the options that go with them."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec

from controlplane.cli.command import Option
from controlplane.cli.session import CliError
from controlplane.contract.problems import USAGE, problem_of
from controlplane.errors import InvalidInputError

MessageOption = Annotated[str, Option("--message", "-m", help="Why; history shows it.")]
RevisionOption = Annotated[
    int | None, Option("--if-revision", help="Refuse unless the environment is still at this revision.")
]


def read_spec(file: str) -> bytes:
    """JSON bytes of a JSON or YAML file; JSON goes through as it is, so the server sees every fault of it."""
    raw = read_file(file)
    if is_json(raw):
        return raw
    try:
        return msgspec.json.encode(_yaml(raw))
    except InvalidInputError as error:
        raise CliError(error.message, problem=problem_of(error)) from None


def is_json(raw: bytes) -> bool:
    """By what it holds: a file's name may lie. What begins like JSON and is none is refused as JSON, unless it is YAML."""
    if not raw.lstrip().startswith((b"{", b"[")):
        return False
    from controlplane.kit.strict_json import check_json

    if all(fault.code != "invalid_json" for fault in check_json(raw)):
        return True
    try:
        _yaml(raw)
    except InvalidInputError:
        return True
    return False


def read_file(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise CliError(f"cannot read {file}: {error.strerror}", USAGE) from None


def _yaml(raw: bytes) -> object:
    from controlplane.kit.strict_yaml import load_yaml  # slow to load, and most verbs read no file

    return load_yaml(raw)


def condition(if_revision: int | None) -> dict[str, str]:
    return {} if if_revision is None else {"If-Match": f'"{if_revision}"'}

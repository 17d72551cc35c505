"""The shared half of every editor: what was sent, what is wrong with it, how much it changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from brownout.model.faults import InvalidResource
from brownout.model.parse import encode, parse
from controlplane.web.editing.draft import Document, read
from controlplane.web.editing.jsondiff import diff_bytes, pretty
from controlplane.web.kit.visit import Visit
from controlplane.web.kit.words import number


@dataclass(frozen=True)
class Sent:
    """An editor's form: the document it spells, the revision it started from, the button that was pressed."""

    document: Document
    base: int
    command: str
    key: str


async def sent(visit: Visit) -> Sent:
    """Reads the form. The JSON pane wins when its own button was pressed."""
    fields = await visit.form()
    plain = dict(fields)
    command = plain.get("do", "")
    document = read(fields)
    if command == "json":
        try:
            found = msgspec.json.decode(plain.get("document", ""))
        except msgspec.DecodeError as error:
            document["@json"] = str(error)
        else:
            document = found if isinstance(found, dict) else document
    return Sent(document, number(plain.get("base", "")), command, plain.get("key", "").strip())


def checked(kind: str, key: str, document: Document) -> tuple[Document, Mapping[str, str]]:
    """The document as it would be stored, without what says nothing but a default; and JSON pointer → what is wrong
    there, as the kernel's parser says it. With anything wrong, the document stays as it is."""
    try:
        return document_of(encode(parse(kind, key or "new", document))), {}
    except InvalidResource as error:
        return document, {fault.pointer: fault.message for fault in error.faults}


def errors_of(kind: str, key: str, document: Document) -> Mapping[str, str]:
    return checked(kind, key, document)[1]


def difference(saved: bytes | None, document: Document) -> int:
    """How many places of the document are not as they are saved."""
    lines = diff_bytes(saved, msgspec.json.encode(document))
    return sum(line.kind == "at" for line in lines)


def document_of(spec: bytes) -> Document:
    found: Any = msgspec.json.decode(spec)
    return found if isinstance(found, dict) else {}


__all__ = ["Sent", "difference", "document_of", "errors_of", "pretty", "sent"]

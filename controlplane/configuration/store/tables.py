"""The configuration tables. Written by commit.py and environments.py, and by nothing else; made by migrations/."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    FetchedValue,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY

metadata = MetaData()


def _table(name: str, *columns: Column[Any]) -> Table:
    """One whose key begins with the environment."""
    return Table(name, metadata, Column("environment", Text, primary_key=True), *columns)


environment = Table(
    "environment",
    metadata,
    Column("key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("chain", Text, nullable=False),
    Column("signing_kid", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("production", Boolean, nullable=False),
    Column("plane_salt", LargeBinary, nullable=False, server_default=FetchedValue()),
)
"""One row an environment: the head of its log. Its row lock orders commits. `plane_salt` keys the digests that SDKs get
in the place of plane kinds."""

resource = _table(
    "resource",
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("spec", LargeBinary, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("tags", ARRAY(Text), nullable=False),
    Column("search", Text, nullable=False),
)
"""The head state. `type`, `tags` and `search` are derived from `spec`, for lists."""

reference = _table(
    "reference",
    Column("from_kind", Text, primary_key=True),
    Column("from_key", Text, primary_key=True),
    Column("to_kind", Text, primary_key=True),
    Column("to_key", Text, primary_key=True),
)
"""Who names whom at the head: what a change can break."""

revision = _table(
    "revision",
    Column("revision", BigInteger, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("previous_chain", Text, nullable=False),
    Column("chain", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("signature", Text, nullable=False),
    Column("reset", Boolean, nullable=False),
    Column("author", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("effective", ARRAY(Text), nullable=False),
    Column("changes", Integer, nullable=False),
    Column("seal", Text, nullable=False),
)
"""The log: append-only and chained, which triggers enforce. `seal` signs what the envelope does not carry."""

change = _table(
    "change",
    Column("revision", BigInteger, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("before", LargeBinary),
    Column("after", LargeBinary),
)
"""What each revision did to each resource, whole; append-only."""

idempotency = _table(
    "idempotency",
    Column("key", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
"""Keys that callers sent with a commit; `body` is a digest of the request they belong to."""

signing_key = _table(
    "signing_key",
    Column("kid", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("public", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("signed_by", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)
"""Ed25519 keys, oldest at position 0, each vouched for by the one before; `sealed` is the private half, encrypted."""

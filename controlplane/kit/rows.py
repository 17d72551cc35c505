"""Statements in, structs out."""

from typing import Any, TypeVar

import msgspec
from sqlalchemy import CursorResult, text

from controlplane.kit.database import ReadConnection, WriteConnection

T = TypeVar("T")


async def fetch(connection: ReadConnection, into: type[T], sql: str, **parameters: Any) -> list[T]:
    """All rows; the columns are named like the struct's fields."""
    result = await connection.execute(text(sql), parameters)
    return [msgspec.convert(dict(row), into) for row in result.mappings()]


async def fetch_one(connection: ReadConnection, into: type[T], sql: str, **parameters: Any) -> T | None:
    result = await connection.execute(text(sql), parameters)
    row = result.mappings().one_or_none()
    return None if row is None else msgspec.convert(dict(row), into)


async def fetch_value(connection: ReadConnection, sql: str, **parameters: Any) -> Any:
    result = await connection.execute(text(sql), parameters)
    return result.scalar()


async def run(connection: WriteConnection, sql: str, **parameters: Any) -> int:
    """Returns how many rows it touched."""
    result = await connection.execute(text(sql), parameters)
    assert isinstance(result, CursorResult)
    return int(result.rowcount)

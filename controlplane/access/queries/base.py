"""Statements in, structs out."""

from controlplane.kit.rows import fetch, fetch_one, fetch_value, run

__all__ = ["fetch", "fetch_one", "fetch_value", "run"]

"""Safe mode while Postgres is away: signed, carried over NATS, and committed once when Postgres is back (ADR 0202)."""

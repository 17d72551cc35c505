"""Alembic's entry point. It runs inside the connection that controlplane.store.migrate opened: there is no other way in."""

from alembic import context
from sqlalchemy import text

MIGRATION_LOCK = 0x62726F776E
"""Replicas that start together take turns."""

connection = context.config.attributes["connection"]
context.configure(connection=connection, transaction_per_migration=False)
with context.begin_transaction():
    connection.execute(text("SET LOCAL statement_timeout = '10min'"))
    connection.execute(text("SET LOCAL lock_timeout = '5min'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
    # From here a migration that cannot get its table lock gives up rather than queue everybody behind it.
    connection.execute(text("SET LOCAL lock_timeout = '4s'"))
    context.run_migrations()

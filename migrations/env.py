"""Alembic's entry point. It runs inside the transaction that controlplane.store.migrate began: there is no other way in."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()

"""The only SQL for notifications. Instants come from the caller's clock, which is Postgres's."""

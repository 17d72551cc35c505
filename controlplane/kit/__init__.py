"""Domain-free tools: clock, database, connections, tasks, logs, encodings."""

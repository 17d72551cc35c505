"""The SQL of access, one module a subject: rows in and out as structs, no rules."""

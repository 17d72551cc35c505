"""What the API, the CLI and the console agree on: bodies, kinds, pointers, the table of errors."""

"""`python -m controlplane` is the CLI."""

from controlplane.cli import main

main()

"""The documentation, under /docs."""

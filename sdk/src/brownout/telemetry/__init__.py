"""Counting what happened, and reporting it."""

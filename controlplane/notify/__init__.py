"""Telling people and systems what happened (docs/notifications.md)."""

"""Deciding: data in, data out."""

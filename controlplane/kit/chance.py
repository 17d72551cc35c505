"""Chance that spreads load: a source of our own, whatever anybody does to the interpreter's common one."""

import random

spread = random.Random()  # noqa: S311 - nothing secret comes of it

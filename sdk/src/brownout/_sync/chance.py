"""Chance that spreads load, from a source of our own: a service may have seeded the interpreter's common one."""

import os
import random

spread = random.Random()  # noqa: S311 - nothing secret comes of it

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=spread.seed)

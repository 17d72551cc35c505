"""The one lock of the kernel: taken to compile, to apply a commit and to collect counts, never to evaluate.

Fork waits for it, so a child inherits neither a lock that nobody will release nor half a commit. It can be taken
again by its holder, so a signal handler that evaluates cannot lock itself out.
"""

import os
import threading

WRITING = threading.RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=WRITING.acquire, after_in_parent=WRITING.release, after_in_child=WRITING.release)

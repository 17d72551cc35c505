"""What a commit makes different, for whom, in plain words: "beta cohort, support-reply: model small → big".

Pure. What callers get before and after is not guessed from the specs but asked of the SDK's own evaluator, for a
context made to stand for each rule's audience (ADR 0024). Prose for people: programs read the changes.
"""

from controlplane.configuration.store.effective.summary import effective

__all__ = ["effective"]

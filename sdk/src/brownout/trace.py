"""How a decision came about, rule by rule."""

from brownout.evaluation.trace import ClauseTrace, CohortTrace, RuleTrace, Trace, explain, trace, trace_cohort

__all__ = ["ClauseTrace", "CohortTrace", "RuleTrace", "Trace", "explain", "trace", "trace_cohort"]

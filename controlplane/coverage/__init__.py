"""Coverage, patterns, tiers and the ranking of failure modes, as people read them."""

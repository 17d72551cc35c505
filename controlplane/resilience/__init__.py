"""What answers when something fails: pure evaluation of coverage, patterns and tiers (docs/coverage.md)."""

"""What the fleet reports: ingestion, rollups, presence and convergence, signals (docs/signals.md, docs/fleet.md)."""

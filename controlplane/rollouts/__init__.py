"""Staged canaries: advance on proof, roll back on evidence (docs/rollouts.md)."""

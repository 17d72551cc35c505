"""Budget windows that a fleet shares: who grants leases of them, and how full they are (ADR 0125)."""

"""Our runner beside what Python services use today, against providers on loopback that fail on command."""

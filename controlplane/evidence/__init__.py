"""Statistics shared by whatever acts on evidence. Pure."""

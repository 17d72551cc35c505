"""What this process knows of its targets: whether an attempt may start, how long to wait, and what each one taught."""

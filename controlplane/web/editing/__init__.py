"""What every editor of the console shares."""

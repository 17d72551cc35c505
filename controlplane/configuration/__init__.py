"""Configuration: the store, and the services around it."""

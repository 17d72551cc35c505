"""What connecting may raise. Evaluation never raises."""


class ConfigurationError(ValueError):
    """The client was given something it can never work with; the message says which setting, never a secret."""


class BundleError(ValueError):
    """A bundle or disk copy is damaged, foreign, or not signed by a trusted key."""

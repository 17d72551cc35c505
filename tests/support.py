"""Constants that fixtures and tests share."""

SECRET_KEY = "a secret of the tests, long enough to be one"

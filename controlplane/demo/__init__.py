"""A made-up support product that lives, for `brownout up --demo`: its configuration, its services, its customers."""

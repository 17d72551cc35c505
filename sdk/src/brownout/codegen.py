"""Types for one environment, so that a typo in a key is a type error: what `brownout codegen` writes."""

from brownout.model.codegen import generate

__all__ = ["generate"]

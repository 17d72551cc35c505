"""Middlewares that set `brownout.context` once per request. Import the one of your framework."""

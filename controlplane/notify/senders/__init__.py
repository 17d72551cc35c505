"""How each kind of channel tells people. A sender knows one protocol and nothing of events, retries or Postgres."""

"""Callables of a runner over the official clients. Each is one attempt: it streams, never retries, and classifies."""

from brownout.runner.adapters.anthropic_messages import anthropic_messages
from brownout.runner.adapters.openai_chat import openai_chat
from brownout.runner.adapters.openai_responses import openai_responses

__all__ = ["anthropic_messages", "openai_chat", "openai_responses"]

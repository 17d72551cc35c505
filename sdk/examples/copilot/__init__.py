"""The parts of the support copilot example."""

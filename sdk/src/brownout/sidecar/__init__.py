"""The SDK as a small local server, for services in other languages (`pip install brownout[sidecar]`, docs/sdk/sidecar.md).

It listens on loopback or a Unix socket only. Every answer comes from the SDK's own memory.
"""

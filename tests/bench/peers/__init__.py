"""Brownout's kernel and its peers, asked the same questions, each in a process of its own (see `measure`).

A peer is fed locally, in its own format, with JSON bytes as its server would send them; nothing here reaches a network.
"""

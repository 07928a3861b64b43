"""Peer-to-peer training of transformers: agreement, exchange and bit-identical updates."""

__version__ = "0.1.0"

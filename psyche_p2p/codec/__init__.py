"""Chunked DCT, top-k and tight bit streams: an update to bytes and back."""

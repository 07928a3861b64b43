"""Generated from proto/ by tools/generate-proto; used by psyche_p2p.wire alone."""

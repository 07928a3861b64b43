"""Transformers with MatFormer tiers, their canonical schema, and checkpoints."""

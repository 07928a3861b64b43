"""Whole networks whose trainers only sleep: what a round costs beside training."""

"""Optimizers, learning-rate schedules, and the exact apply that every machine repeats."""

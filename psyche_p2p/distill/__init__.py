"""Distillation in place: teachers at tier 0, students above."""

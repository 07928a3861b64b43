"""The model: a transformer with nested FFN widths, its schema, its checkpoints and its root."""

"""A network that is hurt again and again, and what shows whether it minds."""

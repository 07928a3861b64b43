"""Training data: where tokens come from, what peers compare, in which order they are seen."""

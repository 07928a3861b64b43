"""A run's arithmetic in one process, without its network."""

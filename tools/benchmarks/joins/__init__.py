"""A newcomer and its donors as processes, with the parts of a peer that serve and fetch."""

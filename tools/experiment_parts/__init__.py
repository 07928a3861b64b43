"""Which mixes of tiers learn how well: runs on real local networks, and what they show."""

"""A seeded discrete-event simulator that drives coordinator and consensus, and attacks both."""

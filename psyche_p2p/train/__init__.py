"""One peer's trainer process; knows no network."""

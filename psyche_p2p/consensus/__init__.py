"""Agreement on the next block of a run's log, without IO."""

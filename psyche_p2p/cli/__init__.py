"""Commands: argv and environment end here."""

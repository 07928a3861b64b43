"""Real peers that are killed, stopped and lied to: the run goes on."""

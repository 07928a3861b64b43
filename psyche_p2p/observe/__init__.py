"""What a peer shows: metrics, events, terminal and web views."""

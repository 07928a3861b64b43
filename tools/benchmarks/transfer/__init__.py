"""Ways to move one blob between two processes, each behind the same two functions."""

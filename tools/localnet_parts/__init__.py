"""A network of peers on one machine: started, watched, disturbed, judged and ended."""

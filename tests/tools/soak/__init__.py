"""tools/soak: real peers under fire, and the judgement of stand-ins that fail."""

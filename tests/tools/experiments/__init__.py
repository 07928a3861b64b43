"""tools/experiments: the matrix, its table and its plot."""

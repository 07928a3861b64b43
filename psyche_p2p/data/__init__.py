"""Training data: providers, tokenizers, and the permutation of samples."""

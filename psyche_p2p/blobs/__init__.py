"""Content-addressed blobs: chunk manifests, kinds, validation, and the store on disk."""

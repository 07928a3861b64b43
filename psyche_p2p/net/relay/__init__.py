"""The blind relay: circuits between members that cannot reach each other, under the same TLS."""

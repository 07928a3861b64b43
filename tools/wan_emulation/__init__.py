"""A wide-area network on one machine: shaped links, namespaces joined by TUN, a TCP proxy."""

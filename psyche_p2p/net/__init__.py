"""Discovery, gossip, bulk transfer and relays."""

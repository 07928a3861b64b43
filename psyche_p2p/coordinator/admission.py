"""Which joins a run accepts."""

from __future__ import annotations

from psyche_p2p.coordinator.rules import Rules
from psyche_p2p.coordinator.signed import Verify, require_signed
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import PeerId, SchemaHash, short_id
from psyche_p2p.wire.commands import Admit
from psyche_p2p.wire.messages import Join

MAX_ADDRESSES = 8
MAX_ADDRESS_CHARACTERS = 256
MAX_DEVICE_CHARACTERS = 128
_ANOTHER_RUN = "only a run with another configuration can take it"


def require_admissible(rules: Rules, schema_hash: SchemaHash, admit: Admit, verify: Verify) -> None:
    """Rejected, with the reason, unless this peer may take part as it says."""
    require_invited(rules, admit.peer)
    _require_meaningful(rules, admit.join)
    if admit.join.schema_hash != schema_hash:
        raise Rejected(
            f"{short_id(admit.peer)} has schema {admit.join.schema_hash.hex()}, "
            f"this run has {schema_hash.hex()}",
            "start it with the run's own configuration and model code",
        )
    require_signed(verify, rules.run_id, admit.peer, admit.join, admit.signature)


def require_invited(rules: Rules, peer: PeerId) -> None:
    """Rejected, with the reason, if the run's configuration keeps this peer out for good."""
    if peer in rules.block:
        raise Rejected(f"{short_id(peer)} is blocked (members.block)", _ANOTHER_RUN)
    if rules.allow and peer not in rules.allow:
        raise Rejected(f"{short_id(peer)} is not invited (members.allow)", _ANOTHER_RUN)


def _require_meaningful(rules: Rules, join: Join) -> None:
    if not join.roles or list(join.roles) != sorted(set(join.roles)):
        raise Rejected("a join names at least one role, each once, in rising order")
    if join.tier > rules.max_tier:
        raise Rejected(f"tier {join.tier}, this run allows 0 to {rules.max_tier}")
    if len(join.addresses) > MAX_ADDRESSES:
        raise Rejected(f"{len(join.addresses)} addresses, at most {MAX_ADDRESSES} are allowed")
    for address in join.addresses:
        if len(address) > MAX_ADDRESS_CHARACTERS or not address.isascii():
            raise Rejected(f"an address is at most {MAX_ADDRESS_CHARACTERS} ASCII characters")
    if len(join.capabilities.device) > MAX_DEVICE_CHARACTERS:
        raise Rejected(f"a device's name of more than {MAX_DEVICE_CHARACTERS} characters")

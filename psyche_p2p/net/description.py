"""What a run is, from a peer that is in it: the first thing that a newcomer asks for, and checks.

Nothing here has to be believed: the configuration must hash to the run's id, and the genesis must
carry its founders' signatures. Only height and offers are claims; whoever follows them finds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psyche_p2p.config import RunConfig, decode_run_config
from psyche_p2p.consensus import SignatureChecker, find_unfounded
from psyche_p2p.coordinator import genesis_hash
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.errors import WireError
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import MAX_TIER, BlockHash, Height, RunId, Tier, short_id
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.errors import Misbehaviour
from psyche_p2p.net.methods import MAX_OFFERS
from psyche_p2p.wire import Certificate, decode
from psyche_p2p.wire.bulk import ParameterOffer, RunDescription
from psyche_p2p.wire.commands import Genesis


@dataclass(frozen=True, slots=True)
class Description:
    """A run as one peer describes it."""

    contact: Contact
    config: RunConfig
    head: LogHead | None
    """What the log begins with; None while the run has not begun."""
    height: Height
    offers: tuple[ParameterOffer, ...]


async def fetch_description(
    client: BulkClient, contact: Contact, run_id: RunId, wanted: Tier | None = None
) -> Description:
    """The run of this id as the peer describes it; says that parameters of a tier are `wanted`.

    UnknownRun if the peer is not in it, Misbehaviour (naming the peer) if the description is not
    of this run, a ConfigError if it is and this software cannot read it.
    """
    told = await client.describe(contact, run_id, wanted)
    _require_config(contact, told.config, run_id)
    config = decode_run_config(told.config, f"the configuration from {short_id(contact.peer)}")
    head = _read_head(contact, told, config, run_id)
    if len(told.offers) > MAX_OFFERS or any(one.tier > MAX_TIER for one in told.offers):
        raise _misbehaviour(contact, "offers of parameters that no run has")
    return Description(contact, config, head, told.height, told.offers)


def most_described(descriptions: Sequence[Description]) -> LogHead | None:
    """The beginning that most of these peers describe, of equals the one of the longest log.

    Who has a founding of its own can sign it, and claim any height: one such peer among many must
    not decide which run a newcomer joins.
    """
    begun: dict[BlockHash, list[Description]] = {}
    for one in descriptions:
        if one.head is not None:
            begun.setdefault(genesis_hash(one.head.genesis), []).append(one)
    if not begun:
        return None
    most = max(begun, key=lambda of: (len(begun[of]), max(one.height for one in begun[of]), of))
    return begun[most][0].head


def _require_config(contact: Contact, config: bytes, run_id: RunId) -> None:
    found = hash_bytes(config)
    if found != run_id:
        raise _misbehaviour(
            contact, f"a config whose hash differs: {found.hex()}, the run's id is {run_id.hex()}"
        )


def _read_head(
    contact: Contact, told: RunDescription, config: RunConfig, run_id: RunId
) -> LogHead | None:
    if told.genesis is None:
        return None
    try:
        genesis = decode(Genesis, told.genesis)
        founding = None if told.founding is None else decode(Certificate, told.founding)
    except WireError as error:
        raise _misbehaviour(contact, f"a genesis that cannot be read: {error.cause}") from error
    if genesis.run_id != run_id:
        raise _misbehaviour(contact, f"the genesis of run {short_id(genesis.run_id)}")
    head = LogHead(config, genesis, founding)
    unfounded = find_unfounded(head, SignatureChecker(run_id))
    if unfounded is not None:
        raise _misbehaviour(contact, f"a genesis that founds nothing: {unfounded}")
    return head


def _misbehaviour(contact: Contact, what: str) -> Misbehaviour:
    cure = "ask another peer, and check the run's id"
    return Misbehaviour(f"peer {short_id(contact.peer)} gave {what}", cure)

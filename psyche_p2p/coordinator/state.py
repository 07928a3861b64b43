"""The run's replicated state: what it holds, how it begins, and its bytes and root.

A State is a StateRecord (what is hashed, stored and sent) together with the run's rules, which
every peer has from the configuration. It never changes; transitions make new ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from psyche_p2p.config import RunConfig
from psyche_p2p.coordinator.admission import require_admissible
from psyche_p2p.coordinator.roots import count_known, count_roots, require_whole_vector
from psyche_p2p.coordinator.rules import Rules, rules_of
from psyche_p2p.coordinator.signed import Verify
from psyche_p2p.errors import Rejected
from psyche_p2p.hashing import DIGEST_BYTES, hash_parts
from psyche_p2p.identity import verify as verify_signature
from psyche_p2p.ids import (
    BlobHash,
    BlockHash,
    EpochIndex,
    Height,
    ParamRoot,
    PeerId,
    RoundIndex,
    StateRoot,
    Tier,
)
from psyche_p2p.wire.codec import decode, encode
from psyche_p2p.wire.commands import Genesis
from psyche_p2p.wire.messages import Join, Phase, Role
from psyche_p2p.wire.records import (
    Account,
    Applicant,
    Member,
    MemberStatus,
    OpenRound,
    StateRecord,
)

_NO_BLOCK = BlockHash(bytes(DIGEST_BYTES))


@dataclass(frozen=True, slots=True)
class State(StateRecord):
    """The replicated state under a run's rules."""

    rules: Rules = field(repr=False)

    @property
    def active_members(self) -> tuple[Member, ...]:
        return tuple(one for one in self.members if one.status is MemberStatus.ACTIVE)

    @property
    def head_round(self) -> OpenRound | None:
        """The oldest open round: the next one to be closed."""
        return self.open_rounds[0] if self.open_rounds else None

    @property
    def closed_count(self) -> RoundIndex:
        """How many rounds are settled, so how many updates belong to the parameters."""
        return RoundIndex(self.next_round - len(self.open_rounds))

    @property
    def param_root(self) -> ParamRoot:
        """The full model's root."""
        return self.param_roots[-1]

    def param_root_of(self, tier: Tier) -> ParamRoot:
        """The root of the model sliced to a tier."""
        return self.param_roots[self.rules.max_tier - tier]

    @property
    def largest_known_tier(self) -> Tier:
        """The tier of the largest model whose parameters somebody vouches for."""
        return Tier(self.rules.max_tier + 1 - max(1, count_known(self.param_roots)))

    def is_keeper(self, join: Join) -> bool:
        """Whether this join is a trainer's that holds the largest model that is still known."""
        return Role.TRAINER in join.roles and join.tier <= self.largest_known_tier

    def root_count_of(self, peer: PeerId) -> int:
        """How many param roots this peer's attestations name; none if it is no member."""
        member = self.find_member(peer)
        return 0 if member is None else count_roots(self.rules, member.join)

    def holders_among(self, peers: Iterable[PeerId]) -> list[frozenset[PeerId]]:
        """By place in the vector of roots: those of these peers that can compute it."""
        counts = {peer: self.root_count_of(peer) for peer in peers}
        return [
            frozenset(peer for peer, count in counts.items() if count > place)
            for place in range(len(self.param_roots))
        ]

    def find_member(self, peer: PeerId) -> Member | None:
        return next((one for one in self.members if one.peer == peer), None)

    def find_account(self, peer: PeerId) -> Account | None:
        return next((one for one in self.accounts if one.peer == peer), None)


def genesis_state(config: RunConfig, genesis: Genesis, verify: Verify = verify_signature) -> State:
    """The state before the first block: the founders are its first voters and applicants.

    Rejected if the genesis belongs to another run, or a founder's join is not acceptable. That all
    founders agreed to it is for their signatures over `genesis_hash` to show.
    """
    rules = rules_of(config)
    _require_founders(rules, genesis, verify)
    require_whole_vector(rules, genesis.param_roots)
    _require_beginning(rules, genesis)
    block_hash = genesis_hash(genesis)
    joins = tuple((founder.peer, founder.join) for founder in genesis.founders)
    state = State(
        run_id=rules.run_id,
        schema_hash=genesis.schema_hash,
        height=Height(0),
        block_hash=block_hash,
        time_ms=genesis.time_ms,
        seed=BlobHash(hash_parts("genesis-seed", block_hash)),
        phase=Phase.WAITING_FOR_MEMBERS,
        phase_since_ms=genesis.time_ms,
        enough_since_ms=None,
        epoch=EpochIndex(0),
        epoch_since_ms=genesis.time_ms,
        is_ending=False,
        is_pause_pending=False,
        owner_nonce=0,
        cold_since_round=rules.first_round,  # no optimizer remembers anything
        members=tuple(new_member(peer, join) for peer, join in joins),
        applicants=tuple(Applicant(peer, join) for peer, join in joins),
        entrants=(),
        accounts=tuple(Account(peer, join.nonce, 0, 0, False) for peer, join in joins),
        next_round=rules.first_round,
        data_index=rules.first_sample,
        open_rounds=(),
        closed_rounds=(),
        head_since_ms=genesis.time_ms,
        usual_round_ms=0,
        param_round=rules.first_round,
        param_roots=genesis.param_roots,
        closing_committee=(),
        points_issued=0,
        points_forfeited=0,
        rules=rules,
    )
    return note_enough(state)


def genesis_hash(genesis: Genesis) -> BlockHash:
    """What founders sign and the first block names as its predecessor."""
    return BlockHash(hash_parts("genesis", encode(genesis)))


def new_member(peer: PeerId, join: Join) -> Member:
    """A member who has done nothing yet, at the speed it claims."""
    return Member(peer, join, MemberStatus.ACTIVE, 0, 0, False, join.capabilities.tokens_per_s)


def note_enough(state: State) -> State:
    """Remember since when there have been enough applicants for an epoch, a keeper among them."""
    is_enough = (
        state.phase is Phase.WAITING_FOR_MEMBERS
        and len(state.applicants) >= state.rules.init_min_members
        and any(state.is_keeper(one.join) for one in state.applicants)
    )
    if not is_enough:
        return state if state.enough_since_ms is None else replace(state, enough_since_ms=None)
    if state.enough_since_ms is None:
        return replace(state, enough_since_ms=state.time_ms)
    return state


def encode_state(state: State) -> bytes:
    """The state as bytes, for the disk and for newcomers; ValueError if a number outgrew them."""
    return encode(_record(state))


def decode_state(data: bytes, config: RunConfig) -> State:
    """The state in bytes from anywhere; WireError, or Rejected if it is another run's.

    What it says is only as good as its root: compare `state_root` with a certified block's.
    """
    rules = rules_of(config)
    record = decode(StateRecord, data)
    if record.run_id != rules.run_id:
        raise Rejected("this is the state of another run", "use the configuration of that run")
    require_whole_vector(rules, record.param_roots)
    return State(**_values(record), rules=rules)


def state_root(state: State) -> StateRoot:
    """The hash of everything in the state but the hash of the block that led to it.

    That block carries this root, so it cannot be part of it.
    """
    record = replace(_record(state), block_hash=_NO_BLOCK)
    return StateRoot(hash_parts("state", encode(record)))


def _record(state: State) -> StateRecord:
    return StateRecord(**_values(state))


def _values(record: StateRecord) -> dict[str, Any]:
    return {one.name: getattr(record, one.name) for one in fields(StateRecord)}


def _require_beginning(rules: Rules, genesis: Genesis) -> None:
    first = rules.first_param_root
    if first is not None and genesis.param_roots[-1] != first:
        raise Rejected(
            f"the run begins with param root {first.hex()}, this genesis with "
            f"{genesis.param_roots[-1].hex()}"
        )


def _require_founders(rules: Rules, genesis: Genesis, verify: Verify) -> None:
    if genesis.run_id != rules.run_id:
        raise Rejected("this is the genesis of another run", "use the configuration of that run")
    peers = [founder.peer for founder in genesis.founders]
    if peers != sorted(set(peers)):
        raise Rejected("founders stand once each, by rising public key")
    if len(peers) > rules.max_members:
        raise Rejected(f"{len(peers)} founders, this run takes {rules.max_members} members")
    if not peers and not rules.authorities:
        raise Rejected("a run without authorities needs at least one founder")
    for founder in genesis.founders:
        require_admissible(rules, genesis.schema_hash, founder, verify)

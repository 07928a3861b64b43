"""A run in memory: peers with real keys who say what they should, and a log that grows by it.

The proposer of every height is honest and there is no agreement here: that is consensus' own
business. `World.clock_ms` moves only when a test moves it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from psyche_p2p.config import RunConfig, run_id
from psyche_p2p.config.load import check_run_config
from psyche_p2p.coordinator import (
    AnyCommand,
    Pool,
    Signed,
    State,
    apply,
    build_block,
    closing_voters,
    decode_command,
    due_commands,
    final_attestation,
    genesis_state,
    order_blobs,
    proposer_at,
    warm_statement,
)
from psyche_p2p.coordinator.refusals import refusal_of
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.identity import Identity
from psyche_p2p.ids import (
    BlobHash,
    ParamRoot,
    PeerId,
    RoundIndex,
    RunId,
    SchemaHash,
    Tier,
    View,
)
from psyche_p2p.wire import (
    Attestation,
    AttestedBlob,
    Block,
    Capabilities,
    Commitment,
    Join,
    Phase,
    Role,
)
from psyche_p2p.wire.commands import Admit, CloseRound, Genesis
from psyche_p2p.wire.envelope import ENVELOPE_CONTEXT, bytes_to_sign
from psyche_p2p.wire.records import OpenRound, Slot

SCHEMA = SchemaHash(hash_bytes(b"schema"))
START_MS = 1_700_000_000_000
BOTH = (Role.TRAINER, Role.WITNESS)


@lru_cache(maxsize=512)
def identity(index: int) -> Identity:
    return Identity.from_seed(index.to_bytes(32, "little"))


def make_config(**sections: dict[str, Any]) -> RunConfig:
    """A small run; keyword arguments override keys of its sections."""
    values: dict[str, dict[str, Any]] = {
        "run": {"name": "test", "total_rounds": 20},
        "members": {"waiting_for_members_extra_s": 1.0},
        "rounds": {
            "epoch_s": 1000.0,
            "warmup_s": 10.0,
            "cooldown_s": 5.0,
            "max_round_train_s": 60.0,
            "global_batch_size_start": 24,
            "global_batch_size_end": 24,
            "equal_batches": True,
        },
        "model": {
            "vocab_size": 256,
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_seq_len": 128,
            "max_tier": 2,
        },
        "data": {"sequence_length": 128},
    }
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section
    return check_run_config(values, "test")


def make_join(
    roles: Iterable[Role] = BOTH, tier: int = 0, nonce: int = 1, tokens_per_s: int = 1000
) -> Join:
    return Join(
        roles=tuple(roles),
        tier=Tier(tier),
        capabilities=Capabilities(tokens_per_s, 1 << 33, "cpu"),
        addresses=("/ip4/127.0.0.1/tcp/4001",),
        tls_fingerprint=BlobHash(hash_bytes(b"tls")),
        schema_hash=SCHEMA,
        nonce=nonce,
    )


@lru_cache(maxsize=1 << 14)  # honest peers repeat themselves, and signing is most of a test's time
def sign(who: Identity, message: Any, of_run: RunId) -> Signed:
    signed = bytes_to_sign(message, of_run, who.peer_id)
    return Signed(who.peer_id, message, who.sign(ENVELOPE_CONTEXT, signed))


def admit(who: Identity, join: Join, of_run: RunId) -> Admit:
    return Admit(who.peer_id, join, sign(who, join, of_run).signature)


def make_genesis(config: RunConfig, joins: dict[int, Join]) -> Genesis:
    founders = [admit(identity(index), join, run_id(config)) for index, join in joins.items()]
    return Genesis(
        run_id=run_id(config),
        time_ms=START_MS,
        schema_hash=SCHEMA,
        param_roots=param_roots(0, config.model.max_tier + 1),
        data_manifest=BlobHash(hash_bytes(b"data")),
        founders=tuple(sorted(founders, key=lambda founder: founder.peer)),
    )


def param_roots(rounds: int, count: int = 3) -> tuple[ParamRoot, ...]:
    """What every honest peer reaches after so many rounds, as far as it holds the model."""
    return tuple(
        ParamRoot(hash_bytes(b"params %d at place %d" % (rounds, place))) for place in range(count)
    )


def make_commitment(state: State, opened: OpenRound, slot: Slot, salt: bytes = b"") -> Commitment:
    name = b"%d %s %s" % (opened.round, slot.trainer.encode(), salt)
    return Commitment(
        epoch=state.epoch,
        round=opened.round,
        batch=slot.batch,
        blob_hash=BlobHash(hash_bytes(b"blob " + name)),
        size_bytes=1000,
        payload_hash=BlobHash(hash_bytes(b"payload " + name)),
        tokens_per_s=1000,
    )


def make_targets_commitment(
    state: State, opened: OpenRound, slot: Slot, salt: bytes = b""
) -> Commitment:
    """What a slot's teacher commits to for its student."""
    made = make_commitment(state, opened, slot, b"targets " + salt)
    return replace(made, tokens_per_s=0)


@dataclass
class World:
    """The state that honest peers share, and what they would say next."""

    state: State
    clock_ms: int
    people: dict[PeerId, Identity]
    blocks: list[Block] = field(default_factory=list)
    dead: set[PeerId] = field(default_factory=set)
    busy: set[PeerId] = field(default_factory=set)
    """Trainers that are not done with their batch yet, but witness."""
    bad_teachers: set[PeerId] = field(default_factory=set)
    """Tier-0 trainers whose targets are no good; everything else that they do is."""
    pool: Pool = field(default_factory=Pool)

    @classmethod
    def start(cls, config: RunConfig, joins: dict[int, Join] | int = 4) -> World:
        if isinstance(joins, int):
            joins = {index: make_join() for index in range(1, joins + 1)}
        state = genesis_state(config, make_genesis(config, joins))
        people = {identity(index).peer_id: identity(index) for index in range(1, 257)}
        return cls(state, START_MS, people)

    @property
    def run_id(self) -> RunId:
        return self.state.run_id

    def say(self, peer: PeerId, message: Any) -> Signed:
        return sign(self.people[peer], message, self.run_id)

    def wait(self, seconds: float) -> None:
        self.clock_ms += round(seconds * 1000)

    def propose(self, commands: Iterable[AnyCommand], view: int = 0) -> Block:
        proposer = proposer_at(self.state, View(view))
        commands = tuple(commands)
        return build_block(
            self.state,
            View(view),
            proposer,
            self.people[proposer].sign,
            commands,
            self.clock_ms,
        )

    def decide(self, *commands: AnyCommand, view: int = 0) -> State:
        block = self.propose(commands, view)
        self.state = apply(self.state, block)
        self.blocks.append(block)
        return self.state

    def settled_rounds(self) -> list[int]:
        """The rounds that the log settles, in its order."""
        commands = (decode_command(data) for block in self.blocks for data in block.commands)
        return [one.round for one in commands if isinstance(one, CloseRound)]

    def heard(self) -> Pool:
        """Everything that living honest peers say in this state, added to what tests put in."""
        return replace(
            self.pool,
            warm=self.pool.warm + self._warm(),
            commitments=self.pool.commitments + self._commitments(),
            attestations=self.pool.attestations + self._attestations(),
            refusals=self.pool.refusals + self._refusals(),
        )

    def step(self) -> bool:
        """Decide whatever is due; False if nothing is."""
        commands = due_commands(self.state, self.heard(), self.clock_ms)
        if commands:
            self.decide(*commands)
        return bool(commands)

    def run_until(self, phase: Phase, *, rounds: int | None = None, limit: int = 500) -> None:
        """Let time pass, half a second at a time, until a phase and so many settled rounds."""
        for _ in range(limit):
            if self.state.phase is phase and self.state.closed_count >= (rounds or 0):
                return
            if not self.step():
                self.wait(0.5)
        raise AssertionError(f"still in {self.state.phase.name} after {limit} steps")

    def _alive(self, peers: Iterable[PeerId]) -> list[PeerId]:
        return [peer for peer in peers if peer not in self.dead]

    def _warm(self) -> tuple[Signed, ...]:
        statement = warm_statement(self.state)
        peers = self._alive(one.peer for one in self.state.entrants)
        return tuple(self.say(peer, statement) for peer in peers)

    def _commitments(self) -> tuple[Signed, ...]:
        opened = self.state.head_round
        if opened is None:
            return ()
        return (*self._contributions(opened), *self._bad_targets(opened))

    def _contributions(self, opened: OpenRound) -> tuple[Signed, ...]:
        """Whoever lives and can commits to its work: a student cannot without good targets."""
        return tuple(
            self.say(slot.trainer, make_commitment(self.state, opened, slot))
            for slot in opened.slots
            if slot.trainer not in self.dead | self.busy
            if slot.teacher not in self.bad_teachers
        )

    def _bad_targets(self, opened: OpenRound) -> tuple[Signed, ...]:
        """What bad teachers commit to."""
        return tuple(
            self.say(slot.teacher, make_targets_commitment(self.state, opened, slot))
            for slot in opened.slots
            if slot.teacher in self.bad_teachers and slot.teacher not in self.dead
        )

    def _refusals(self) -> tuple[Signed, ...]:
        """Every living witness refuses what bad teachers committed to, but they themselves."""
        opened = self.state.head_round
        if opened is None:
            return ()
        return tuple(
            self.say(witness, refusal_of(targets.message, targets.sender))
            for targets in self._bad_targets(opened)
            for witness in self._alive(opened.committee)
            if witness not in self.bad_teachers
        )

    def _attestations(self) -> tuple[Signed, ...]:
        opened = self.state.head_round
        if opened is None:
            return tuple(
                self.say(peer, final_attestation(self.state, self.roots_of(peer)))
                for peer in self._alive(closing_voters(self.state))
            )
        held = [(one.sender, one.message) for one in self._contributions(opened)]
        return tuple(
            self.say(peer, self.attestation(opened, held, peer))
            for peer in self._alive(opened.committee)
        )

    def roots_of(self, peer: PeerId) -> tuple[ParamRoot, ...]:
        """What an honest member has computed of the parameters."""
        return param_roots(self.state.closed_count, self.state.root_count_of(peer))

    def attestation(
        self, opened: OpenRound, held: Iterable[tuple[PeerId, Commitment]], witness: PeerId
    ) -> Attestation:
        """What an honest witness says who holds these blobs."""
        return Attestation(
            epoch=self.state.epoch,
            round=opened.round,
            blobs=order_blobs(
                AttestedBlob(one.batch, trainer, one.blob_hash) for trainer, one in held
            ),
            param_round=RoundIndex(self.state.closed_count),
            param_roots=self.roots_of(witness),
        )

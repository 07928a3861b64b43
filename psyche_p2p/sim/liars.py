"""Peers that cheat: an honest driver underneath, and lies in what it says and keeps to itself.

A liar holds its own keys only. It may delay, drop, double, invent and repeat whatever it likes.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psyche_p2p.consensus import Broadcast, compute_block_hash
from psyche_p2p.coordinator import build_block, decode_command, next_seed
from psyche_p2p.coordinator.acceptance import encode_held
from psyche_p2p.errors import Rejected
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import BlobHash, BlockHash, Height, ParamRoot, Signature, View
from psyche_p2p.sim import duties
from psyche_p2p.sim.disk import Disk
from psyche_p2p.sim.peer import SimPeer
from psyche_p2p.sim.schedule import Lie
from psyche_p2p.sim.signing import Keys
from psyche_p2p.wire import Attestation, Block, Commitment, Envelope, Proposal, Vote, VoteStep
from psyche_p2p.wire.commands import CloseRound, Contribution
from psyche_p2p.wire.records import OpenRound, Slot

if TYPE_CHECKING:
    from psyche_p2p.sim.world import World

MISCHIEF_MS = 400
_REMEMBERED = 50
_FLOOD = 6


class Liar(SimPeer):
    """A peer with one or several ways to cheat."""

    is_honest = False

    def __init__(
        self, world: World, index: int, keys: Keys, disk: Disk, lies: tuple[Lie, ...], seed: str
    ) -> None:
        super().__init__(world, index, keys, disk)
        self._lies = frozenset(lies)
        self._rng = random.Random(seed)
        self._twins: dict[BlockHash, BlockHash] = {}
        self._remembered: list[Envelope] = []

    @property
    def teaches_badly(self) -> bool:
        return Lie.BAD_TEACHER in self._lies

    @property
    def frames(self) -> bool:
        """Whether it says of good targets that they are bad, and the other way round."""
        return Lie.FRAMING_WITNESS in self._lies

    def start(self) -> None:
        super().start()
        if Lie.FORGER in self._lies:
            self._make_mischief(self.incarnation)

    def broadcast(self, effect: Broadcast) -> None:
        envelope, message = effect.envelope, effect.envelope.message
        if Lie.SILENT in self._lies:
            return
        if envelope.sender != self.keys.peer or effect.is_repeat:
            super().broadcast(effect)
        elif isinstance(message, Proposal):
            self._propose(envelope, message)
        else:
            self._vote(envelope, message)

    def say(self, message: Any) -> Envelope:
        if Lie.SILENT in self._lies:
            return self.keys.seal(message)
        if isinstance(message, Attestation) and Lie.FALSE_PARAMETERS in self._lies:
            message = replace(message, param_roots=invent_roots(message))
        envelope = super().say(message)
        if isinstance(message, Commitment) and Lie.EQUIVOCATING_TRAINER in self._lies:
            other = replace(message, blob_hash=BlobHash(hash_bytes(message.blob_hash)))
            self._send_half(self.keys.seal(other), self._half())
        return envelope

    def _on_envelope(self, envelope: Envelope) -> None:
        if Lie.FORGER in self._lies and len(self._remembered) < _REMEMBERED:
            self._remembered.append(envelope)
        if Lie.LYING_WITNESS in self._lies and isinstance(envelope.message, Commitment):
            self._attest_blindly()
        super()._on_envelope(envelope)

    def invent_commitment(self, opened: OpenRound, honest: Commitment) -> Commitment:
        """What this trainer commits to instead of its work."""
        if Lie.COPYING_TRAINER in self._lies:
            return self._copy(opened, honest)
        if Lie.LYING_WITNESS in self._lies:
            self.world.unavailable.add(honest.blob_hash)
        return honest

    # Lies in agreement

    def _propose(self, envelope: Envelope, proposal: Proposal) -> None:
        if Lie.GRINDER in self._lies and proposal.block.seed[0] % 2 and proposal.valid_view is None:
            return
        if Lie.SEED_BORROWER in self._lies:
            self.world.send_all(self.index, self._with_borrowed_seed(proposal))
            return
        if Lie.STALE_CLOSER in self._lies:
            self.world.send_all(self.index, self._with_stale_witnesses(proposal) or envelope)
            return
        twin = self._make_twin(proposal)
        if Lie.EQUIVOCATING_PROPOSER not in self._lies or twin is None:
            self.world.send_all(self.index, envelope)
            return
        half = self._half()
        self._send_half(envelope, half)
        self._send_half(twin, [i for i in range(self.world.peer_count) if i not in half])
        self._twins[compute_block_hash(proposal.block)] = compute_block_hash(twin.message.block)

    def _vote(self, envelope: Envelope, vote: Vote) -> None:
        if Lie.VOTE_WITHHOLDER in self._lies:
            self._send_half(envelope, self._half()[:1])
            return
        twin = self._twins.get(vote.block_hash) if vote.block_hash else None
        if twin is None and Lie.DOUBLE_VOTER not in self._lies:
            self.world.send_all(self.index, envelope)
            return
        other = self.keys.seal(replace(vote, block_hash=twin or self._other_than(vote)))
        half = self._half()
        self._send_half(envelope, half)
        rest = [i for i in range(self.world.peer_count) if i not in half]
        self._send_half(other, rest if self._rng.random() < 0.5 else range(self.world.peer_count))

    def _other_than(self, vote: Vote) -> BlockHash | None:
        """Another value for the same step: nothing, or whatever block is on the table."""
        proposals = self.core.state.proposals.values()
        hashes = [held.block_hash for held in proposals if held.block_hash != vote.block_hash]
        return None if vote.block_hash is not None else self._rng.choice([*hashes, None])

    def _make_twin(self, proposal: Proposal) -> Envelope | None:
        """Another valid block for the same view, a millisecond younger."""
        block = proposal.block
        if proposal.valid_view is not None:
            return None
        commands = tuple(decode_command(command) for command in block.commands)
        try:
            twin = build_block(
                self.state, block.view, self.keys.peer, self.keys.sign, commands, block.time_ms + 1
            )
        except Rejected:
            return None
        return self.keys.seal(replace(proposal, block=twin))

    def _with_borrowed_seed(self, proposal: Proposal) -> Envelope:
        """The block with the seed signature of another height, to choose the next committee."""
        if not self.disk.decided:
            return self.keys.seal(proposal)
        signature = self._rng.choice(self.disk.decided).block.seed_signature
        seed = next_seed(self.state.seed, signature)
        borrowed = replace(proposal.block, seed=seed, seed_signature=signature)
        return self.keys.seal(replace(proposal, block=borrowed))

    def _with_stale_witnesses(self, proposal: Proposal) -> Envelope | None:
        """The round closed with a blob of ours that nobody has, "attested" in the round before."""
        close, old = _find_close(proposal.block), self._last_close()
        slots = duties.list_slots(self.state, self.keys.peer)
        if close is None or old is None or not slots or slots[0][0].round != close.round:
            return None
        opened, slot = slots[0]
        phantom = duties.make_commitment(self.state, opened, slot, b"phantom")
        stale = claim_witnessed(opened, slot, close, old, self.keys.seal(phantom))
        try:
            block = build_block(
                self.state,
                proposal.block.view,
                self.keys.peer,
                self.keys.sign,
                (stale,),
                proposal.block.time_ms,
            )
        except Rejected:
            return None
        return self.keys.seal(replace(proposal, valid_view=None, block=block))

    def _last_close(self) -> CloseRound | None:
        closes = (_find_close(decided.block) for decided in reversed(self.disk.decided))
        return next((close for close in closes if close is not None), None)

    # Lies about work

    def _attest_blindly(self) -> None:
        """Claim to hold every blob that anyone ever mentioned."""
        for opened in self.state.open_rounds:
            if self.keys.peer in opened.committee:
                known = [
                    signed
                    for signed in self.heard.commitments_of(opened.round)
                    if not duties.is_targets(opened, signed)
                ]
                me = self.keys.peer
                super().say(duties.make_attestation(self.state, me, opened, known))

    def _copy(self, opened: OpenRound, honest: Commitment) -> Commitment:
        others = [one.message for one in self.heard.commitments_of(opened.round)]
        if not others:
            return honest
        return replace(honest, payload_hash=self._rng.choice(others).payload_hash)

    # Noise

    def _make_mischief(self, incarnation: int) -> None:
        if incarnation != self.incarnation:
            return
        for envelope in self._invent():
            self.world.send_all(self.index, envelope)
        self.world.loop.call_at(self.now_ms + MISCHIEF_MS, self._make_mischief, incarnation)

    def _invent(self) -> list[Envelope]:
        """Replays, forgeries in others' names, floods of our own about far heights and views."""
        height, rng = self.core.state.height, self._rng
        made = [rng.choice(self._remembered)] if self._remembered else []
        victim = self.world.peer_id(rng.randrange(self.world.peer_count))
        for number in range(_FLOOD):
            vote = Vote(
                Height(height + rng.choice((0, 0, 1, 7, 1 << 40))),
                View(rng.choice((number, rng.randrange(1 << 30)))),
                rng.choice(list(VoteStep)),
                rng.choice((None, BlockHash(rng.randbytes(32)))),
            )
            sealed = self.keys.seal(vote)
            forged = Signature(rng.randbytes(64))
            made.append(sealed)
            made.append(replace(sealed, id=rng.randbytes(32), sender=victim, signature=forged))
        return made

    def _half(self) -> list[int]:
        others = [i for i in range(self.world.peer_count) if i != self.index]
        return self._rng.sample(others, (len(others) + 1) // 2)

    def _send_half(self, envelope: Envelope, targets: Any) -> None:
        for target in targets:
            if target != self.index:
                self.world.send(self.index, target, envelope)


def invent_roots(honest: Attestation) -> tuple[ParamRoot, ...]:
    """Other parameters at every tier, the same from every liar, so that their words add up."""
    return tuple(ParamRoot(hash_bytes(root)) for root in honest.param_roots)


def claim_witnessed(
    opened: OpenRound, slot: Slot, close: CloseRound, old: CloseRound, phantom: Envelope
) -> CloseRound:
    """A CloseRound that credits our phantom with the witnesses' signatures of an earlier round."""
    mine = opened.slots.index(slot)
    commitment: Commitment = phantom.message
    contribution = Contribution(
        mine,
        commitment.blob_hash,
        commitment.size_bytes,
        commitment.payload_hash,
        commitment.tokens_per_s,
        phantom.signature,
    )
    others = [one for one in close.contributions if one.slot != mine]
    contributions = tuple(sorted((*others, contribution), key=lambda one: one.slot))
    everything = encode_held(range(len(contributions)), len(contributions))
    witnessings = tuple(replace(one, held=everything) for one in old.witnessings)
    return replace(close, contributions=contributions, witnessings=witnessings)


def _find_close(block: Block) -> CloseRound | None:
    commands = map(decode_command, block.commands)
    return next((one for one in commands if isinstance(one, CloseRound)), None)

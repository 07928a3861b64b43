"""A run small enough to see through: its state is the list of decided blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from psyche_p2p.consensus.application import Committee
from psyche_p2p.consensus.blocks import compute_block_hash
from psyche_p2p.consensus.core import Agreement
from psyche_p2p.consensus.effects import (
    Broadcast,
    Decided,
    Effect,
    EvidenceFound,
    Persist,
    WalRecord,
)
from psyche_p2p.consensus.memory import Memory
from psyche_p2p.consensus.signing import IdentitySigner, SignatureChecker
from psyche_p2p.consensus.timeouts import Timeouts
from psyche_p2p.coordinator.quorum import compute_quorum
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BlobHash, BlockHash, Height, PeerId, RunId, Signature, StateRoot, View
from psyche_p2p.wire import Block, DecidedBlock, Envelope, Proposal, Vote, VoteStep

RUN = RunId(b"r" * 32)
CHECKER = SignatureChecker(RUN)
GENESIS = BlockHash(b"g" * 32)
TIMEOUTS = Timeouts()


@lru_cache
def identity(number: int) -> Identity:
    return Identity.from_seed(number.to_bytes(32, "big"))


@lru_cache
def signers(count: int) -> tuple[IdentitySigner, ...]:
    """Signers in rising order of their PeerIds, so that their index is their rank."""
    made = (IdentitySigner(identity(number), RUN) for number in range(count))
    return tuple(sorted(made, key=lambda signer: signer.peer))


class ToyApplication:
    """Members propose in turn; a block is valid unless a command says `bad`.

    A command `add N` or `drop N` changes the membership from the next height on.
    """

    def __init__(self, members: Iterable[PeerId], me: PeerId) -> None:
        self.members = sorted(members)
        self.me = me
        self.blocks: list[Block] = []
        self.commands: tuple[bytes, ...] = ()
        self.opens_at_ms = 0

    @property
    def height(self) -> Height:
        return Height(len(self.blocks) + 1)

    @property
    def head(self) -> BlockHash:
        return compute_block_hash(self.blocks[-1]) if self.blocks else GENESIS

    def committee(self) -> Committee:
        return Committee(tuple(self.members), compute_quorum(len(self.members)))

    def proposer(self, view: View) -> PeerId:
        return self.members[(self.height + view) % len(self.members)]

    def is_member(self, peer: PeerId) -> bool:
        return peer in self.members

    def build_block(self, view: View, now_ms: int) -> Block | None:
        return Block(
            height=self.height,
            prev_hash=self.head,
            view=view,
            proposer=self.me,
            time_ms=now_ms,
            seed=BlobHash(bytes(32)),
            seed_signature=Signature(bytes(64)),
            commands=self.commands,
            state_root=StateRoot(bytes(32)),
        )

    def find_fault(self, block: Block) -> str | None:
        return "says bad" if b"bad" in block.commands else None

    def find_untimely(self, block: Block, now_ms: int) -> str | None:
        return "too early" if now_ms < self.opens_at_ms else None

    def apply_block(self, block: Block) -> None:
        self.blocks.append(block)
        for command in block.commands:
            verb, _, number = command.partition(b" ")
            if verb == b"add":
                self.members = sorted([*self.members, identity(int(number)).peer_id])
            if verb == b"drop":
                self.members.remove(identity(int(number)).peer_id)


class ToyPeer:
    """A core with its toy run and what came out of it, sorted by kind."""

    def __init__(
        self,
        signer: IdentitySigner,
        members: Sequence[PeerId],
        memory: Memory | None = None,
        decided: Sequence[DecidedBlock] = (),
    ) -> None:
        self.signer = signer
        self.app = ToyApplication(members, signer.peer)
        for one in decided:
            self.app.apply_block(one.block)
        self.core = Agreement(
            self.app, signer, CHECKER, TIMEOUTS, memory or Memory(is_complete=True)
        )
        self.decided = list(decided)
        self.wal: list[WalRecord] = []
        self.sent: list[Envelope] = []
        self.evidence: list[EvidenceFound] = []

    def collect(self) -> list[Effect]:
        """Carry out the effects as a driver would; they are also returned."""
        effects = self.core.take_effects()
        for effect in effects:
            if isinstance(effect, Persist):
                self.wal.append(effect.record)
            elif isinstance(effect, Broadcast):
                self.sent.append(effect.envelope)
            elif isinstance(effect, Decided):
                self.decided.append(effect.decided)
            elif isinstance(effect, EvidenceFound):
                self.evidence.append(effect)
        return effects

    def take_sent(self) -> list[Envelope]:
        self.collect()
        sent, self.sent = self.sent, []
        return sent

    def votes(self, step: VoteStep) -> list[BlockHash | None]:
        """What this peer sent in a step, as block hashes."""
        self.collect()
        messages = (envelope.message for envelope in self.sent)
        return [m.block_hash for m in messages if isinstance(m, Vote) and m.step is step]


class ToyNetwork:
    """Peers that hear each other at once, except those cut off."""

    def __init__(self, count: int) -> None:
        self.members = [signer.peer for signer in signers(count)]
        self.peers = [ToyPeer(signer, self.members) for signer in signers(count)]
        self.cut: set[PeerId] = set()
        self.now_ms = 0
        self.message_count = 0

    def run_due(self) -> None:
        """The next block is due everywhere; messages flow until all is quiet."""
        for peer in self.reachable():
            peer.core.on_due(self.now_ms)
        self.settle()

    def settle(self) -> None:
        while any(self._deliver_from(peer) for peer in self.reachable()):
            pass

    def pass_time(self, until_ms: int) -> None:
        """Fire every deadline up to a time, letting messages flow after each."""
        while True:
            deadlines = [d for p in self.reachable() if (d := p.core.next_deadline()) is not None]
            if not deadlines or min(deadlines) > until_ms:
                break
            self.now_ms = max(self.now_ms, min(deadlines))
            for peer in self.reachable():
                peer.core.on_timer(self.now_ms)
            self.settle()
        self.now_ms = max(self.now_ms, until_ms)

    def reachable(self) -> list[ToyPeer]:
        return [peer for peer in self.peers if peer.signer.peer not in self.cut]

    def find(self, peer_id: PeerId) -> ToyPeer:
        return next(peer for peer in self.peers if peer.signer.peer == peer_id)

    def heights(self) -> list[int]:
        return [len(peer.decided) for peer in self.peers]

    def _deliver_from(self, peer: ToyPeer) -> bool:
        sent = peer.take_sent()
        for envelope in sent:
            for other in self.reachable():
                if other is not peer:
                    self.message_count += 1
                    other.core.on_message(envelope, self.now_ms)
        return bool(sent)


def make_proposal(
    signer: IdentitySigner, app: ToyApplication, view: int = 0, mark: bytes = b""
) -> Envelope:
    """A new block of this signer's, told apart by its mark."""
    block = app.build_block(View(view), 0)
    assert block is not None
    marked = replace(block, proposer=signer.peer, commands=(mark,) if mark else ())
    return signer.seal(Proposal(app.height, View(view), None, marked))


def make_vote(
    signer: IdentitySigner,
    step: VoteStep,
    block_hash: BlockHash | None,
    view: int = 0,
    height: int = 1,
) -> Envelope:
    return signer.seal(Vote(Height(height), View(view), step, block_hash))


def hash_of(envelope: Envelope) -> BlockHash:
    return compute_block_hash(envelope.message.block)

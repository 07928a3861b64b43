"""A finished run with a certificate for every block, as a peer that was in it keeps it."""

from __future__ import annotations

from pathlib import Path

from psyche_p2p.config import RunConfig
from psyche_p2p.coordinator import block_hash, genesis_hash, quorum_at
from psyche_p2p.coordinator.logfile import LogHead, encode_log_entry, encode_log_head
from psyche_p2p.ids import BlockHash, Height, PeerId, View
from psyche_p2p.wire import Certificate, DecidedBlock, Phase, Vote, VoteSignature, VoteStep
from tests.coordinator.world import World, make_genesis, make_join

JOINS = {index: make_join() for index in range(1, 5)}


class Recorded:
    """The run of a configuration with four founders, from genesis to its end."""

    def __init__(self, config: RunConfig) -> None:
        world = World.start(config, JOINS)
        genesis = make_genesis(config, JOINS)
        founders = [founder.peer for founder in genesis.founders]
        founding = certify(world, Height(0), View(0), genesis_hash(genesis), founders)
        self.head = LogHead(config, genesis, founding)
        self.world = world
        self.decided: list[DecidedBlock] = []
        while world.state.phase is not Phase.FINISHED:
            before = world.state
            voters = sorted(member.peer for member in before.active_members)[: quorum_at(before)]
            if not world.step():
                world.wait(1)
                continue
            block = world.blocks[-1]
            certificate = certify(world, block.height, block.view, block_hash(block), voters)
            self.decided.append(DecidedBlock(block, certificate))

    def write(self, path: Path, decided: list[DecidedBlock] | None = None) -> Path:
        entries = self.decided if decided is None else decided
        frames = [encode_log_head(self.head), *map(encode_log_entry, entries)]
        path.write_bytes(b"".join(frames))
        return path


def certify(
    world: World, height: Height, view: View, of: BlockHash, voters: list[PeerId]
) -> Certificate:
    """What makes a block decided: these voters' signatures."""
    vote = Vote(height, view, VoteStep.PRECOMMIT, of)
    signatures = tuple(VoteSignature(peer, world.say(peer, vote).signature) for peer in voters)
    return Certificate(height, view, of, signatures)

"""Certificates, and the chain they make from genesis on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from psyche_p2p.consensus.blocks import compute_block_hash
from psyche_p2p.consensus.certificates import find_certificate_fault
from psyche_p2p.consensus.chain import InvalidChain, verify_chain
from psyche_p2p.ids import BlockHash, Signature, View
from psyche_p2p.wire import Certificate, DecidedBlock
from tests.consensus.toy import CHECKER, ToyApplication, ToyNetwork, identity, signers

MEMBERS = [signer.peer for signer in signers(4)]


def _decided(heights: int = 3) -> list[DecidedBlock]:
    network = ToyNetwork(4)
    for _ in range(heights):
        network.run_due()
    return network.peers[0].decided


def _genesis() -> ToyApplication:
    return ToyApplication(MEMBERS, MEMBERS[0])


def test_a_decided_chain_is_followed_from_genesis() -> None:
    app, blocks = _genesis(), _decided()
    verify_chain(app, blocks, CHECKER)
    assert app.blocks == [decided.block for decided in blocks]


def test_the_chain_is_followed_through_a_change_of_membership() -> None:
    """A member leaves at height 1 and the next block is decided by the three that are left."""
    network = ToyNetwork(4)
    leaver = next(i for i in range(4) if identity(i).peer_id == MEMBERS[3])
    for peer in network.peers:
        peer.app.commands = (b"drop %d" % leaver,)
    network.run_due()
    for peer in network.peers:
        peer.app.commands = ()
    network.run_due()
    blocks = network.peers[0].decided
    assert MEMBERS[3] not in {one.voter for one in blocks[1].certificate.signatures}
    assert len(blocks[1].certificate.signatures) == 2
    verify_chain(_genesis(), blocks, CHECKER)
    unaware = _genesis()
    unaware.blocks.append(blocks[0].block)
    with pytest.raises(InvalidChain, match="signatures, a quorum is 3"):
        verify_chain(unaware, blocks[1:], CHECKER)


def test_a_certificate_short_of_a_quorum_proves_nothing() -> None:
    (decided, *_) = _decided(1)
    short = replace(decided.certificate, signatures=decided.certificate.signatures[:2])
    with pytest.raises(InvalidChain, match="2 signatures, a quorum is 3"):
        verify_chain(_genesis(), [replace(decided, certificate=short)], CHECKER)


def _repeat_signer(certificate: Certificate) -> Certificate:
    first = certificate.signatures[0]
    return replace(certificate, signatures=(first, *certificate.signatures[:2]))


def _add_stranger(certificate: Certificate) -> Certificate:
    stranger = replace(certificate.signatures[2], voter=max(s.peer for s in signers(13)))
    return replace(certificate, signatures=(*certificate.signatures[:2], stranger))


def _forge(certificate: Certificate) -> Certificate:
    forged = replace(certificate.signatures[0], signature=Signature(bytes(64)))
    return replace(certificate, signatures=(forged, *certificate.signatures[1:]))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_repeat_signer, "strictly rising"),
        (_add_stranger, "not in the committee"),
        (_forge, "did not sign"),
        (lambda one: replace(one, view=View(one.view + 1)), "did not sign"),
        (lambda one: replace(one, block_hash=BlockHash(bytes(32))), "did not sign"),
    ],
)
def test_a_spoiled_certificate_is_refused(
    spoil: Callable[[Certificate], Certificate], reason: str
) -> None:
    (decided, *_) = _decided(1)
    committee = _genesis().committee()
    fault = find_certificate_fault(spoil(decided.certificate), committee, CHECKER)
    assert fault is not None
    assert reason in fault


def test_the_first_broken_block_is_named() -> None:
    app, blocks = _genesis(), _decided()
    spoiled = replace(blocks[1], block=replace(blocks[1].block, time_ms=99))
    with pytest.raises(InvalidChain) as caught:
        verify_chain(app, [blocks[0], spoiled, blocks[2]], CHECKER)
    assert caught.value.height == 2
    assert app.blocks == [blocks[0].block]


def test_a_missing_block_breaks_the_chain() -> None:
    blocks = _decided()
    with pytest.raises(InvalidChain, match="a block of height 3, not 2"):
        verify_chain(_genesis(), [blocks[0], blocks[2]], CHECKER)


def test_the_hash_of_a_block_is_the_one_its_successor_names() -> None:
    first, second, _ = _decided()
    assert second.block.prev_hash == compute_block_hash(first.block)

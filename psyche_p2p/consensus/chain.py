"""Light verification: follow the log by certificates alone, through every change of membership."""

from __future__ import annotations

from collections.abc import Iterable

from psyche_p2p.consensus.application import Application
from psyche_p2p.consensus.blocks import compute_block_hash
from psyche_p2p.consensus.certificates import find_certificate_fault
from psyche_p2p.consensus.rules import find_block_fault
from psyche_p2p.consensus.signing import SignatureChecker
from psyche_p2p.errors import RemoteError
from psyche_p2p.ids import Height
from psyche_p2p.wire import DecidedBlock


class InvalidChain(RemoteError):
    """A chain of decided blocks that breaks at a height."""

    def __init__(self, height: Height, reason: str) -> None:
        super().__init__(f"the log breaks at height {height}: {reason}", "ask another peer for it")
        self.height = height
        self.reason = reason


def verify_chain(
    genesis: Application, blocks: Iterable[DecidedBlock], checker: SignatureChecker
) -> None:
    """Move `genesis` through decided blocks, each proven by the committee that the last one left.

    InvalidChain names the first block that is not proven; the application then stands before it.
    """
    for decided in blocks:
        fault = find_decided_fault(decided, genesis, checker)
        if fault is not None:
            raise InvalidChain(decided.block.height, fault)
        genesis.apply_block(decided.block)


def find_decided_fault(
    decided: DecidedBlock, app: Application, checker: SignatureChecker
) -> str | None:
    """Why this decided block does not follow the head; None if a quorum decided it."""
    block, certificate = decided.block, decided.certificate
    fault = find_block_fault(block, app)
    if fault is not None:
        return fault
    if certificate.height != block.height or certificate.block_hash != compute_block_hash(block):
        return "the certificate is of another block"
    if certificate.view < block.view:
        return "decided in a view before it was proposed"
    return find_certificate_fault(certificate, app.committee(), checker) or app.find_fault(block)

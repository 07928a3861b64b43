"""Agreement on the next block of the run's log, without IO: see `core.Agreement`."""

from psyche_p2p.consensus.application import Application, Committee
from psyche_p2p.consensus.blocks import compute_block_hash
from psyche_p2p.consensus.chain import InvalidChain, find_decided_fault, verify_chain
from psyche_p2p.consensus.core import Agreement
from psyche_p2p.consensus.effects import (
    Broadcast,
    Decided,
    Effect,
    EvidenceFound,
    FellBehind,
    Halted,
    Judgement,
    Persist,
    Verdict,
    WalRecord,
)
from psyche_p2p.consensus.genesis import Founding, find_founding_fault, find_unfounded, prefer_chain
from psyche_p2p.consensus.memory import Memory
from psyche_p2p.consensus.signing import (
    IdentitySigner,
    SignatureChecker,
    Signer,
)
from psyche_p2p.consensus.timeouts import Timeouts
from psyche_p2p.consensus.wal import WriteAheadLog, decode_record, encode_record

__all__ = [
    "Agreement",
    "Application",
    "Committee",
    "Timeouts",
    "Memory",
    "Signer",
    "SignatureChecker",
    "IdentitySigner",
    "Effect",
    "Persist",
    "Broadcast",
    "Decided",
    "EvidenceFound",
    "FellBehind",
    "Halted",
    "Verdict",
    "Judgement",
    "WalRecord",
    "WriteAheadLog",
    "encode_record",
    "decode_record",
    "compute_block_hash",
    "verify_chain",
    "find_decided_fault",
    "InvalidChain",
    "Founding",
    "find_founding_fault",
    "find_unfounded",
    "prefer_chain",
]

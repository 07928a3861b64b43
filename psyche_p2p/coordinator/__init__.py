"""The run's replicated state machine: pure, deterministic, the same on every peer."""

from psyche_p2p.coordinator.admission import require_invited
from psyche_p2p.coordinator.chain import SEED_CONTEXT, block_hash, next_seed, seed_message
from psyche_p2p.coordinator.closing import closing_voters, final_attestation
from psyche_p2p.coordinator.commands import AnyCommand, decode_command, encode_command
from psyche_p2p.coordinator.committee import (
    committee_at,
    proposer_at,
    proposer_order,
    quorum_at,
)
from psyche_p2p.coordinator.epochs import apply_obey, warm_statement
from psyche_p2p.coordinator.membership import require_welcome
from psyche_p2p.coordinator.pool import Pool, order_blobs
from psyche_p2p.coordinator.proposal import build_block, due_commands, due_times_ms
from psyche_p2p.coordinator.quorum import compute_quorum, tolerated_liars
from psyche_p2p.coordinator.roots import UNHELD
from psyche_p2p.coordinator.rules import Rules, rules_of
from psyche_p2p.coordinator.schedule import learning_rate_from_bits
from psyche_p2p.coordinator.signed import Sign, Signed, Verify
from psyche_p2p.coordinator.state import (
    State,
    decode_state,
    encode_state,
    genesis_hash,
    genesis_state,
    state_root,
)
from psyche_p2p.coordinator.transition import apply, validate

__all__ = [
    "State",
    "Rules",
    "rules_of",
    "genesis_state",
    "genesis_hash",
    "encode_state",
    "decode_state",
    "state_root",
    "apply",
    "validate",
    "committee_at",
    "quorum_at",
    "proposer_at",
    "proposer_order",
    "compute_quorum",
    "tolerated_liars",
    "block_hash",
    "next_seed",
    "seed_message",
    "SEED_CONTEXT",
    "AnyCommand",
    "encode_command",
    "decode_command",
    "Signed",
    "Sign",
    "Verify",
    "Pool",
    "order_blobs",
    "due_commands",
    "due_times_ms",
    "build_block",
    "warm_statement",
    "apply_obey",
    "require_invited",
    "require_welcome",
    "final_attestation",
    "closing_voters",
    "UNHELD",
    "learning_rate_from_bits",
]

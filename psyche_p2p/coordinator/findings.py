"""Proofs of misconduct that lie in what a peer has heard, made into commands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from psyche_p2p.coordinator.evidence import eligible_jurors
from psyche_p2p.coordinator.quorum import compute_quorum
from psyche_p2p.coordinator.signed import Signed
from psyche_p2p.coordinator.state import State
from psyche_p2p.errors import Rejected
from psyche_p2p.wire.commands import EjectForCommitments, EjectForVerdicts, JurorSignature
from psyche_p2p.wire.messages import Commitment, Verdict


def find_double_commitments(commitments: Sequence[Signed]) -> Iterator[EjectForCommitments]:
    """A proof for each trainer and batch with two different commitments."""
    first_of: dict[tuple[object, ...], Signed] = {}
    for signed in commitments:
        one: Commitment = signed.message
        first = first_of.setdefault((signed.sender, one.epoch, one.round, one.batch), signed)
        if first.message != one:
            yield EjectForCommitments(
                signed.sender, first.message, first.signature, one, signed.signature
            )


def find_failed_work(state: State, verdicts: Sequence[Signed]) -> Iterator[EjectForVerdicts]:
    """A proof for each contribution that a quorum of its jury could not reproduce."""
    if not state.rules.verification_percent:
        return
    against: dict[EjectForVerdicts, dict[str, JurorSignature]] = defaultdict(dict)
    for signed in verdicts:
        one: Verdict = signed.message
        if not one.accepted:
            charge = EjectForVerdicts(
                one.trainer, one.epoch, one.round, one.batch, one.blob_hash, ()
            )
            statement = JurorSignature(signed.sender, one.agreement_ppm, signed.signature)
            against[charge][signed.sender] = statement
    for charge, statements in against.items():
        yield from _prove(state, charge, statements)


def _prove(
    state: State, charge: EjectForVerdicts, statements: dict[str, JurorSignature]
) -> Iterator[EjectForVerdicts]:
    try:
        jury = eligible_jurors(state, charge)
    except Rejected:
        return
    counted = tuple(statements[juror] for juror in sorted(statements) if juror in jury)
    if counted and len(counted) >= compute_quorum(len(jury)):
        yield EjectForVerdicts(
            charge.peer, charge.epoch, charge.round, charge.batch, charge.blob_hash, counted
        )

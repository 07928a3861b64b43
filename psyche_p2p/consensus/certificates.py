"""Certificates: a quorum's precommits with everything they share said once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from psyche_p2p.consensus.application import Committee
from psyche_p2p.consensus.signing import SignatureChecker
from psyche_p2p.wire import Certificate, Envelope, Vote, VoteSignature, VoteStep


def build_certificate(precommits: Sequence[Envelope], quorum: int) -> Certificate:
    """The certificate of precommits for one block in one view, voters in rising order."""
    vote: Vote = precommits[0].message
    assert vote.block_hash is not None
    assert len(precommits) >= quorum
    signatures = tuple(
        VoteSignature(envelope.sender, envelope.signature) for envelope in precommits[:quorum]
    )
    return Certificate(vote.height, vote.view, vote.block_hash, signatures)


def find_certificate_fault(
    certificate: Certificate, committee: Committee, checker: SignatureChecker
) -> str | None:
    """Why this certificate proves nothing to this committee; None if a quorum signed."""
    voters = [signature.voter for signature in certificate.signatures]
    if len(voters) < committee.quorum:
        return f"{len(voters)} signatures, a quorum is {committee.quorum}"
    if any(earlier >= later for earlier, later in pairwise(voters)):
        return "voters are not in strictly rising order"
    strangers = [voter for voter in voters if voter not in committee.voters]
    if strangers:
        return f"{strangers[0]} is not in the committee"
    vote = Vote(certificate.height, certificate.view, VoteStep.PRECOMMIT, certificate.block_hash)
    for signature in certificate.signatures:
        if not checker.is_signed(vote, signature.voter, signature.signature):
            return f"{signature.voter} did not sign this precommit"
    return None

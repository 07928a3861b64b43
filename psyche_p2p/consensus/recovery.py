"""After a restart: stand again where the write-ahead log says we stood, bound to what we said."""

from __future__ import annotations

from collections.abc import Sequence

from psyche_p2p.consensus import rules
from psyche_p2p.consensus.admission import take_in
from psyche_p2p.consensus.application import Application
from psyche_p2p.consensus.effects import WalRecord
from psyche_p2p.consensus.height import HeightState, Step
from psyche_p2p.wire import Envelope, Vote, VoteStep


def restore_statements(state: HeightState, records: Sequence[WalRecord], app: Application) -> bool:
    """Replay the records of this height into a fresh state; whether there were any."""
    relevant = [record for record in records if record.height == state.height]
    for record in relevant:
        for envelope in (*record.reasons, record.own):
            take_in(state, envelope, app)
        _rebind(state, record.own)
    return bool(relevant)


def _rebind(state: HeightState, own: Envelope) -> None:
    message = own.message
    if message.view > state.view:
        state.view, state.step = message.view, Step.PROPOSE
    if not isinstance(message, Vote):
        return
    state.step = Step.PREVOTE if message.step is VoteStep.PREVOTE else Step.PRECOMMIT
    if message.step is VoteStep.PRECOMMIT and message.block_hash is not None:
        rules.lock(state, message.block_hash)
        state.valid = state.find_block(message.block_hash)
        state.valid_view = state.view if state.valid is not None else None


def list_repeats(state: HeightState, own_votes: Sequence[Envelope]) -> list[Envelope]:
    """Whatever may be missing elsewhere for this view to end, each statement once.

    The proposal and our votes for those who missed them; what makes our block valid for those bound
    to another; the precommits that ended the view before for those who are still in it.
    """
    held = state.proposals.get(state.view)
    proposal = [held.envelope] if held is not None else []
    ended = state.votes.precommits_before(state.view)
    everything = (*proposal, *own_votes, *state.list_proof(), *ended)
    return list({envelope.id: envelope for envelope in everything}.values())

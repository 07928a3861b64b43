"""Messages of the next height, kept until we are there: few a sender, members only."""

from __future__ import annotations

from psyche_p2p.ids import PeerId
from psyche_p2p.wire import Envelope, Proposal

MAX_EARLY_VOTES = 6
MAX_EARLY_PROPOSALS = 1


class EarlyMessages:
    """The first few messages of each sender for the next height."""

    def __init__(self) -> None:
        self._kept: dict[PeerId, list[Envelope]] = {}

    def keep(self, envelope: Envelope) -> bool:
        """Keep the message if its sender has room left."""
        kept = self._kept.setdefault(envelope.sender, [])
        is_proposal = isinstance(envelope.message, Proposal)
        limit = MAX_EARLY_PROPOSALS if is_proposal else MAX_EARLY_VOTES
        alike = [known for known in kept if isinstance(known.message, Proposal) == is_proposal]
        if len(alike) >= limit or any(known.id == envelope.id for known in alike):
            return False
        kept.append(envelope)
        return True

    def take_all(self) -> list[Envelope]:
        """Everything kept, which is then kept no longer."""
        kept = [envelope for envelopes in self._kept.values() for envelope in envelopes]
        self._kept = {}
        return kept

    def __len__(self) -> int:
        return sum(len(envelopes) for envelopes in self._kept.values())

"""Whom a decided block shows to be at fault, and of what: everyone who reads the log sees the same.

What a block leaves out is no proof: a contribution that was refused is named by those who looked at
it (`rounds.RoundWork`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from psyche_p2p.coordinator import State
from psyche_p2p.coordinator.commands import decode_command
from psyche_p2p.observe.events import Accused
from psyche_p2p.wire import Block
from psyche_p2p.wire.commands import (
    CloseRound,
    EjectForCommitments,
    EjectForVerdicts,
    EjectForVotes,
)


def find_misconduct(before: State, after: State, block: Block) -> Iterator[Accused]:
    """Every fault that the block proves."""
    for data in block.commands:
        match decode_command(data):
            case CloseRound() as command:
                yield from _in_round(before, after, command)
            case EjectForCommitments(peer=peer, first=first):
                yield Accused(peer, f"round {first.round}: two contributions for one batch")
            case EjectForVotes(peer=peer, first=first):
                yield Accused(peer, f"block {first.height}: two votes for one view")
            case EjectForVerdicts(peer=peer, round=index):
                yield Accused(peer, f"round {index}: its work cannot be reproduced")
            case _:
                pass


def _in_round(before: State, after: State, command: CloseRound) -> Iterator[Accused]:
    opened = before.open_rounds[0]
    by_slot = Counter(one.slot for one in command.contributions)
    for slot, count in sorted(by_slot.items()):
        if count > 1:
            trainer = opened.slots[slot].trainer
            yield Accused(trainer, f"round {opened.round}: two contributions for one batch")
    for refused in command.refused:
        teacher, count = opened.slots[refused.targets.slot].teacher, len(refused.witnesses)
        if teacher is not None:
            yield Accused(teacher, f"round {opened.round}: {count} witnesses refuse its targets")
    for witnessing in command.witnessings:
        agreed = after.param_roots[: len(witnessing.param_roots)]
        if witnessing.param_round == after.param_round and witnessing.param_roots != agreed:
            reached = f"after round {after.param_round} its parameters are not the run's"
            yield Accused(opened.committee[witnessing.witness], reached)

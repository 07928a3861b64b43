"""The checks that many commands begin with; each raises Rejected with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from psyche_p2p.coordinator.state import State
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import EpochIndex, PeerId, short_id
from psyche_p2p.wire.messages import Phase
from psyche_p2p.wire.records import Account


def require_phase(state: State, *phases: Phase) -> None:
    if state.phase not in phases:
        allowed = " or ".join(phase.name for phase in phases)
        raise Rejected(f"the run is in {state.phase.name}, this needs {allowed}")


def require_epoch(state: State, epoch: EpochIndex) -> None:
    if epoch != state.epoch:
        raise Rejected(f"this is about epoch {epoch}, the run is in epoch {state.epoch}")


def require_elapsed(state: State, since_ms: int, wait_ms: int, what: str) -> None:
    missing_ms = since_ms + wait_ms - state.time_ms
    if missing_ms > 0:
        raise Rejected(f"too early by {missing_ms} ms: {what}")


def require_rising(values: Sequence[object], what: str) -> None:
    """In strictly rising order, so that nothing counts twice and there is one way to say it."""
    pairs = pairwise(values)
    if any(not first < second for first, second in pairs):  # type: ignore[operator]
        raise Rejected(f"{what} do not stand once each in rising order")


def require_account(state: State, peer: PeerId) -> Account:
    """The account of a peer that may still be acted on."""
    account = state.find_account(peer)
    if account is None:
        raise Rejected(f"{short_id(peer)} has never been admitted to this run")
    if account.is_banned:
        raise Rejected(
            f"{short_id(peer)} has been ejected from this run for misconduct proven in its log",
            "an ejection is for good",
        )
    return account


def require_other_voter(state: State, peer: PeerId) -> None:
    """The last voter cannot be let go: nobody could decide anything any more."""
    if is_last_voter(state, peer):
        raise Rejected(f"{short_id(peer)} is the last voter, and a log needs one")


def is_last_voter(state: State, peer: PeerId) -> bool:
    """Whether nobody but this peer votes, if anyone does. Authorities vote whoever is a member."""
    if state.rules.authorities:
        return False
    return all(member.peer == peer for member in state.active_members)

"""What a run waits for, in a line for a person."""

from __future__ import annotations

from psyche_p2p.coordinator import State
from psyche_p2p.wire import Phase


def what_is_missing(state: State) -> str | None:
    """Why the next epoch does not open; None if nothing but a little time is missing."""
    if state.phase is Phase.PAUSED:
        return "the owner has paused the run"
    if state.phase is not Phase.WAITING_FOR_MEMBERS or state.enough_since_ms is not None:
        return None
    ready, needed = len(state.applicants), state.rules.init_min_members
    if ready < needed:
        return f"{ready} of {needed} peers are ready (members.init_min_members)"
    tier = state.largest_known_tier
    return f"nobody here trains tier {tier}, the largest model there is: start a peer with it"

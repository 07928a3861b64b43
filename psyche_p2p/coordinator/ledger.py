"""Who is owed what: points for accepted work and for witnessing, in whole numbers.

Points of an epoch are pending until it closes, and lost by ejection. At any moment
`points_issued == sum(points + epoch_points) + points_forfeited`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from psyche_p2p.coordinator.rules import Rules
from psyche_p2p.coordinator.state import State
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import PeerId, Tier
from psyche_p2p.wire.records import Account

MAX_ACCOUNTS = 1 << 16
POINTS_PER_ATTESTED_BATCH = 1
_WORK_PER_POINT = 1_000_000  # tokens times active parameters


def contribution_points(rules: Rules, samples: int, tier: Tier) -> int:
    """Points for a batch: tokens times the parameters a trainer of this tier works with."""
    work = samples * rules.sequence_length * rules.active_parameters[tier]
    return max(1, work // _WORK_PER_POINT)


def note_nonce(state: State, peer: PeerId, nonce: int) -> State:
    """Open an account, or remember the newest join or withdrawal of one."""
    account = state.find_account(peer)
    if account is None and len(state.accounts) >= MAX_ACCOUNTS:
        raise Rejected(f"the run's ledger is full ({MAX_ACCOUNTS} accounts)")
    updated = replace(account or Account(peer, 0, 0, 0, False), nonce=nonce)
    return _with_accounts(state, {peer: updated})


def credit(state: State, earned: Mapping[PeerId, int]) -> State:
    """Add pending points. Peers without an account (authorities) earn none."""
    updated = {
        account.peer: replace(account, epoch_points=account.epoch_points + earned[account.peer])
        for account in state.accounts
        if account.peer in earned
    }
    issued = sum(earned[peer] for peer in updated)
    return replace(_with_accounts(state, updated), points_issued=state.points_issued + issued)


def settle(state: State) -> State:
    """Make the epoch's pending points final."""
    updated = {
        account.peer: replace(account, points=account.points + account.epoch_points, epoch_points=0)
        for account in state.accounts
        if account.epoch_points
    }
    return _with_accounts(state, updated)


def forfeit(state: State, account: Account) -> State:
    """Ban a peer and take its pending points."""
    banned = replace(account, epoch_points=0, is_banned=True)
    return replace(
        _with_accounts(state, {account.peer: banned}),
        points_forfeited=state.points_forfeited + account.epoch_points,
    )


def total_points(state: State) -> Counter[str]:
    """The ledger's sums, for those who check that nothing was made or lost."""
    return Counter(
        issued=state.points_issued,
        forfeited=state.points_forfeited,
        settled=sum(account.points for account in state.accounts),
        pending=sum(account.epoch_points for account in state.accounts),
    )


def _with_accounts(state: State, updated: Mapping[PeerId, Account]) -> State:
    if not updated:
        return state
    accounts = {account.peer: account for account in state.accounts} | dict(updated)
    return replace(state, accounts=tuple(accounts[peer] for peer in sorted(accounts)))

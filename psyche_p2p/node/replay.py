"""From the log on disk, and what others have beyond it, to the state at the head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import NoReturn, Protocol

from psyche_p2p.consensus import SignatureChecker, verify_chain
from psyche_p2p.consensus.run import RunApplication
from psyche_p2p.coordinator import Pool, State, apply
from psyche_p2p.coordinator.logfile import begin_log
from psyche_p2p.coordinator.signed import trust
from psyche_p2p.errors import Unavailable
from psyche_p2p.ids import Height, PeerId
from psyche_p2p.log import get_logger
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.log_fetch import fetch_log
from psyche_p2p.node.log_store import LogStore
from psyche_p2p.wire import DecidedBlock

_BLOCKS_AT_ONCE = 256
_log = get_logger(__name__)
OnState = Callable[[State], None]


class Keeper(Protocol):
    """Where fetched blocks go."""

    def append(self, decided: DecidedBlock) -> None:
        """Keep the next block."""


def replay_own(log: LogStore, on_state: OnState) -> State:
    """The state after the blocks on this disk, which were checked before they came there."""
    state = begin_log(log.head)
    on_state(state)
    follower = _follower(state, is_checked=True)
    first = 1
    while blocks := log.blocks(Height(first), _BLOCKS_AT_ONCE):
        for decided in blocks:
            follower.apply_block(decided.block)
            on_state(follower.state)
        first += len(blocks)
    return follower.state


async def catch_up(
    state: State,
    log: Keeper,
    client: BulkClient,
    contacts: Sequence[Contact],
    on_state: OnState,
) -> State:
    """The state after every block that others have; each one's certificate is checked."""
    follower = _follower(state, is_checked=False)
    checker = SignatureChecker(state.run_id)

    def check(decided: DecidedBlock) -> None:
        verify_chain(follower, [decided], checker)

    fetched = fetch_log(client, contacts, Height(state.height + 1), check)
    try:
        async with aclosing(fetched) as blocks:
            async for decided in blocks:
                log.append(decided)
                on_state(follower.state)
    except Unavailable as error:
        _log.info("nobody to fetch the log from yet", cause=str(error))
    gained = follower.state.height - state.height
    if gained:
        _log.info("log fetched", blocks=gained, height=follower.state.height)
    return follower.state


def _follower(state: State, *, is_checked: bool) -> RunApplication:
    apply_to = partial(apply, verify=trust) if is_checked else None
    return RunApplication(
        state, PeerId(""), _never_sign, Pool, clock_offset_ms=0, apply_to=apply_to
    )


def _never_sign(_context: str, _message: bytes) -> NoReturn:
    raise AssertionError("whoever only follows a log signs nothing")

"""What one decided block changed, and what was sent, as events and as lines for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Literal

from psyche_p2p.coordinator import State
from psyche_p2p.ids import short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.traffic import TrafficMeter
from psyche_p2p.node.misconduct import find_misconduct
from psyche_p2p.observe import events
from psyche_p2p.wire import Block
from psyche_p2p.wire.messages import Phase
from psyche_p2p.wire.records import MemberStatus

_What = Literal["admitted", "dropped", "ejected", "withdrew"]
_LEAVING: dict[MemberStatus, tuple[_What, str]] = {
    MemberStatus.DROPPED: ("dropped", "missed too many rounds"),
    MemberStatus.EJECTED: ("ejected", "proven misconduct"),
    MemberStatus.WITHDRAWN: ("withdrew", "asked to leave"),
}
_TRAFFIC_S = 5.0
_log = get_logger(__name__)


def report_step(
    before: State, after: State, block: Block, emit: Callable[[events.Event], None]
) -> None:
    """Everything a block changed that people and supervisors care about."""
    for event in (*find_misconduct(before, after, block), *_changes(before, after)):
        emit(event)
        _say(event)


def phase_event(state: State) -> events.PhaseEntered:
    return events.PhaseEntered(state.phase.name, state.epoch, state.height)


async def report_traffic(meter: TrafficMeter, emit: Callable[[events.Event], None]) -> None:
    """Say now and then how much was sent and received, for ever."""
    while True:
        await asyncio.sleep(_TRAFFIC_S)
        emit(traffic_event(meter))


def traffic_event(meter: TrafficMeter) -> events.Traffic:
    return events.Traffic(meter.sent_bytes, meter.received_bytes)


def _changes(before: State, after: State) -> Iterator[events.Event]:
    if after.closed_count > before.closed_count:
        yield _round_closed(before, after)
    if after.param_round > before.param_round or after.param_roots != before.param_roots:
        roots = tuple(root.hex() for root in after.param_roots)
        yield events.RootAgreed(after.param_round, roots)
    yield from _membership(before, after)
    if after.phase is not before.phase:
        yield phase_event(after)


def _round_closed(before: State, after: State) -> events.RoundClosed:
    closed, opened = after.closed_rounds[-1], before.open_rounds[0]
    accepted = tuple(one.trainer for one in closed.accepted)
    return events.RoundClosed(
        round=closed.round,
        height=after.height,
        accepted=len(accepted),
        slots=len(opened.slots),
        trainers=accepted,
        missed=tuple(slot.trainer for slot in opened.slots if slot.trainer not in accepted),
    )


def _membership(before: State, after: State) -> Iterator[events.MemberChanged]:
    known = {one.peer: one.status for one in before.members}
    is_new_epoch = before.phase is Phase.WARMUP and after.phase is Phase.TRAIN
    for one in after.members:
        was = known.get(one.peer)
        if one.status is MemberStatus.ACTIVE and is_new_epoch and was is not MemberStatus.ACTIVE:
            yield events.MemberChanged(one.peer, "admitted", f"epoch {after.epoch}")
        elif one.status is not MemberStatus.ACTIVE and was is MemberStatus.ACTIVE:
            yield events.MemberChanged(one.peer, *_LEAVING[one.status])
    if is_new_epoch:
        entered = {one.peer for one in after.members}
        for peer, was in known.items():
            if was is MemberStatus.ACTIVE and peer not in entered:
                reason = f"was not ready when epoch {after.epoch} began"
                yield events.MemberChanged(peer, "dropped", reason)
    waiting = {one.peer for one in (*after.applicants, *after.entrants)}
    for account in after.accounts:
        earlier = before.find_account(account.peer)
        is_banned_now = account.is_banned and (earlier is None or not earlier.is_banned)
        if is_banned_now and account.peer not in known and account.peer not in waiting:
            yield events.MemberChanged(account.peer, *_LEAVING[MemberStatus.EJECTED])


def _say(event: events.Event) -> None:
    match event:
        case events.RoundClosed():
            missed = ",".join(map(short_id, event.missed))
            fields = {"missed": missed} if missed else {}
            _log.info("round closed", round=event.round, accepted=event.accepted, **fields)
        case events.RootAgreed():
            _log.debug("root agreed", rounds=event.param_round, root=event.roots[-1][:16])
        case events.MemberChanged():
            _log.info(f"member {event.what}", peer=short_id(event.peer), reason=event.reason)
        case events.Accused():
            _log.warning("a peer is at fault", peer=event.peer, reason=event.reason)
        case events.PhaseEntered():
            _log.info("phase", phase=event.phase, epoch=event.epoch, height=event.height)
        case _:
            pass

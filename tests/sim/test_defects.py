"""The tests tested: every deliberate defect below is caught by a check that sound code passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from psyche_p2p.consensus import admission, chain, core, memory, rules, run, votes
from psyche_p2p.consensus.effects import reject
from psyche_p2p.consensus.height import HeightState
from psyche_p2p.coordinator import acceptance, ledger, proposal, refusals, roots, transition
from psyche_p2p.coordinator.signed import require_signed
from psyche_p2p.errors import Rejected
from psyche_p2p.ids import View
from psyche_p2p.sim.network import LinkModel
from psyche_p2p.sim.schedule import Fault, FaultKind, Lie, Schedule
from psyche_p2p.sim.world import World
from psyche_p2p.wire import Attestation
from tests.consensus import test_agreement, test_chain, test_recovery


def _simulate(seeds: int = 6, **changes: Any) -> None:
    """Some runs of one kind; AssertionError if a promise is broken in any of them."""
    for seed in range(seeds):
        schedule = replace(Schedule(seed=seed, peers=4, rounds=4, links=LinkModel()), **changes)
        assert World(schedule).run(60_000).violations == ()


def _simulate_liar(*lies: Lie) -> Callable[[], None]:
    """Rounds and seeds enough for the liar to propose at the moment that its lie needs."""
    return lambda: _simulate(seeds=12, rounds=8, liars=((1, lies),))


def _simulate_crashes() -> None:
    """Everyone restarts, one after the other, again and again in the middle of the votes."""
    for after in (1, 3):
        faults = tuple(
            Fault(FaultKind.CRASH, 1000 + 400 * wave + 40 * peer, 60, (peer,), after)
            for wave in range(4)
            for peer in range(4)
        )
        links = LinkModel(latency_ms=120, jitter_ms=50)
        _simulate(seeds=2, faults=faults, links=links)


def _locking(name: str) -> Callable[[], None]:
    def check() -> None:
        case = test_agreement.TestLocking()
        case.setup_method()
        getattr(case, name)()

    return check


def _every_crash() -> None:
    for crash_after in range(test_recovery.EFFECT_COUNT + 1):
        test_recovery.test_no_crash_makes_a_peer_contradict_itself(crash_after)


def _without_memory() -> None:
    case = test_recovery.TestWithoutMemory()
    case.setup_method()
    case.test_it_votes_two_heights_above_what_a_quorum_was_deciding()


def _count_twice(tally: votes.Tally, voter: Any, block_hash: Any, envelope: Any) -> None:
    known = tally.by_value.setdefault(block_hash, {})
    again = voter + "'" * len(known) if voter in known else voter
    known[again] = tally.voters[again] = envelope


def _ignore_view(state: HeightState, _view: Any, step: Any, block_hash: Any) -> bool:
    counts = (state.votes.tally(view, step).count(block_hash) for view in map(View, range(10)))
    return sum(counts) >= state.committee.quorum


def _accept_stale(verify: Any, run_id: Any, sender: Any, message: Any, signature: bytes) -> None:
    """Attestations of any round are taken for attestations of this one."""
    try:
        require_signed(verify, run_id, sender, message, signature)
    except Rejected:
        if not isinstance(message, Attestation):
            raise


def _unbound_seed(run_id: bytes, _height: int, _previous: bytes) -> bytes:
    return run_id


@dataclass(frozen=True)
class Defect:
    """Something to break, and the check that must notice."""

    name: str
    patches: tuple[tuple[Any, str, Any], ...]
    check: Callable[[], None]


DEFECTS = (
    Defect(
        "quorum off by one",
        ((run, "compute_quorum", lambda size: max(1, 2 * size // 3)),),
        _simulate_liar(Lie.DOUBLE_VOTER),
    ),
    Defect(
        "lock dropped",
        ((rules, "is_lock_satisfied", lambda _state, _held: True),),
        _locking("test_a_locked_peer_prevotes_nothing_for_another_new_block"),
    ),
    Defect(
        "lock yields to an older quorum",
        ((rules, "is_lock_satisfied", lambda _s, held: held.proposal.valid_view is not None),),
        _locking("test_a_lock_does_not_yield_to_an_earlier_quorum"),
    ),
    Defect(
        "write-ahead log not replayed",
        ((core, "restore_statements", lambda _state, _records, _app: False),),
        _every_crash,
    ),
    Defect(
        "write-ahead log not replayed, in the simulator",
        ((core, "restore_statements", lambda _state, _records, _app: False),),
        _simulate_crashes,
    ),
    Defect(
        "vote counted twice",
        (
            (votes.Tally, "has_counted", lambda _tally, _voter, _hash: False),
            (votes.Tally, "add", _count_twice),
        ),
        _locking("test_a_vote_said_twice_counts_once"),
    ),
    Defect(
        "view not checked",
        ((HeightState, "has_quorum", _ignore_view),),
        _locking("test_votes_of_different_views_do_not_add_up"),
    ),
    Defect(
        "evidence ignored",
        ((admission, "_accuse", lambda _state, _known, _envelope: reject("")),),
        _locking("test_two_votes_of_one_voter_are_evidence_once"),
    ),
    Defect(
        "stale attestation accepted",
        ((acceptance, "require_signed", _accept_stale),),
        _simulate_liar(Lie.STALE_CLOSER),
    ),
    Defect(
        "seed not bound to its height",
        ((transition, "seed_message", _unbound_seed), (proposal, "seed_message", _unbound_seed)),
        _simulate_liar(Lie.SEED_BORROWER),
    ),
    Defect(
        "a root settled without a quorum of its tier",
        ((roots, "compute_quorum", lambda _size: 1),),
        _simulate_liar(Lie.FALSE_PARAMETERS),
    ),
    Defect(
        "a teacher named without a quorum",
        ((refusals, "compute_quorum", lambda _size: 1),),
        lambda: _simulate(
            seeds=3, tiers=(0, 0, 1, 1), is_distilling=True, liars=((1, (Lie.FRAMING_WITNESS,)),)
        ),
    ),
    Defect(
        "certificates not checked",
        ((chain, "find_certificate_fault", lambda _certificate, _committee, _checker: None),),
        test_chain.test_a_certificate_short_of_a_quorum_proves_nothing,
    ),
    Defect(
        "a peer without memory votes at once",
        ((memory.Memory, "may_vote_at", lambda _memory, _height: True),),
        _without_memory,
    ),
    Defect(
        "points made from nothing",
        (
            (
                ledger,
                "replace",
                lambda value, **changes: replace(
                    value, **{k: v for k, v in changes.items() if k != "points_issued"}
                ),
            ),
        ),
        _simulate,
    ),
)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_is_caught(defect: Defect, monkeypatch: pytest.MonkeyPatch) -> None:
    defect.check()
    for owner, name, broken in defect.patches:
        monkeypatch.setattr(owner, name, broken)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        defect.check()

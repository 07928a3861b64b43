"""What events add up to: shares of time, bytes over restarts, losses, roots across tiers."""

from __future__ import annotations

from pathlib import Path

import pytest
from localnet_parts.outcome import judge
from localnet_parts.peer import Peer
from localnet_parts.plan import identity_of
from localnet_parts.roots import find_differences, last_root
from localnet_parts.tally import Tally

from psyche_p2p.observe.events import (
    Applied,
    Diverged,
    Evaluated,
    Event,
    Finished,
    MemberChanged,
    PhaseEntered,
    Recorded,
    RootAgreed,
    RoundClosed,
    Started,
    Traffic,
    Trained,
)


def tally_of(number: int, *events: Event, tier: int = 0) -> Tally:
    tally = Tally(identity_of(0, number).peer_id, tier, "trainer")
    for event in events:
        tally.on_event(Recorded(0, event))
    return tally


def peer_of(folder: Path, tally: Tally) -> Peer:
    return Peer(0, tally, folder / "peer0")


def trained(number: int, loss: float, seconds: float = 1.0) -> Trained:
    return Trained(number, 0, 1, loss, 100, seconds)


def closed(number: int) -> RoundClosed:
    return RoundClosed(number, number, 1, 1, (), ())


def test_the_share_of_time_counts_only_the_train_phase() -> None:
    tally = tally_of(0)
    for time_ms, event in (
        (0, PhaseEntered("WARMUP", 0, 1)),
        (5_000, PhaseEntered("train", 0, 2)),
        (9_000, trained(0, 5.0, seconds=3.0)),
        (15_000, PhaseEntered("COOLDOWN", 0, 3)),
        (50_000, PhaseEntered("TRAIN", 1, 4)),
        (60_000, trained(1, 5.0, seconds=9.0)),
    ):
        tally.on_event(Recorded(time_ms, event))
    assert tally.train_phase_ms == 20_000
    assert tally.training_share == pytest.approx(12 / 20)


def test_bytes_of_all_processes_of_a_peer_are_added() -> None:
    tally = tally_of(0, Traffic(100, 10), Traffic(300, 20))
    tally.on_launch()
    tally.on_event(Recorded(0, Traffic(50, 5)))
    assert (tally.sent_bytes, tally.received_bytes) == (350, 25)


def test_what_was_true_of_a_killed_process_is_forgotten() -> None:
    tally = tally_of(0, Started(identity_of(0, 0).peer_id, 0, "trainer", ("a",), ()), closed(3))
    assert (tally.addresses, tally.is_in_step) == (("a",), True)
    tally.on_launch()
    assert (tally.addresses, tally.is_in_step, tally.has_started) == ((), False, True)


def test_roots_are_compared_where_tiers_overlap() -> None:
    large = tally_of(0, Applied(7, ("t2", "t1", "t0"), 0.1), Applied(8, ("x2", "x1", "x0"), 0.1))
    small = tally_of(1, Applied(7, ("t2", "t1"), 0.1), tier=1)
    assert find_differences([large, small]) == []
    assert last_root([small, large]) == "x0"


def test_one_different_root_is_found_at_its_round_and_level() -> None:
    large = tally_of(0, Applied(7, ("t2", "t1", "t0"), 0.1))
    small = tally_of(1, Applied(7, ("t2", "bad"), 0.1), tier=1)
    (line,) = find_differences([large, small])
    assert line.startswith("after round 7, level 1: peer ")
    assert "has root t1" in line
    assert "has bad" in line


def test_a_peer_that_differs_from_the_log_is_found() -> None:
    lone = tally_of(0, Applied(7, ("bad",), 0.1), RootAgreed(7, ("good",)))
    (line,) = find_differences([lone])
    assert "the log of peer" in line


def test_a_tier_that_nobody_holds_is_not_compared() -> None:
    small = tally_of(0, Applied(7, ("t2",), 0.1), RootAgreed(7, ("t2", "00" * 32)), tier=2)
    large = tally_of(1, Applied(7, ("t2", "t1"), 0.1), tier=1)
    assert find_differences([small, large]) == []


def test_a_log_read_again_is_no_step() -> None:
    tally = tally_of(0, closed(3))
    tally.on_launch()
    tally.on_event(Recorded(0, closed(3)))
    assert (tally.is_in_step, tally.last_round) == (False, 3)
    tally.on_event(Recorded(0, closed(4)))
    assert (tally.is_in_step, tally.last_round) == (True, 4)


def test_losses_are_means_of_the_ends(tmp_path: Path) -> None:
    losses = [8.0, 6.0, *[5.0] * 4, 2.0, 1.0]
    tally = tally_of(0, *[trained(number, loss) for number, loss in enumerate(losses)], closed(0))
    outcome = judge([peer_of(tmp_path, tally)], [], 1, 1.0, is_interrupted=False)
    assert (outcome.loss_first, outcome.loss_last) == (7.0, 1.5)


def test_the_newest_held_out_loss_of_each_tier_counts(tmp_path: Path) -> None:
    tally = tally_of(0, Evaluated(9, 1, 3.0), Evaluated(9, 0, 2.0), Evaluated(4, 0, 1.0))
    outcome = judge([peer_of(tmp_path, tally)], [], 0, 1.0, is_interrupted=False)
    assert outcome.heldout == {"0": 2.0, "1": 3.0}


def test_a_loss_that_is_not_a_number_is_null(tmp_path: Path) -> None:
    tally = tally_of(0, trained(0, float("nan")))
    outcome = judge([peer_of(tmp_path, tally)], [], 0, 1.0, is_interrupted=False)
    assert (outcome.loss_first, outcome.loss_last) == (None, None)


def test_what_all_report_happened_once_and_what_one_reports_twice_happened_twice(
    tmp_path: Path,
) -> None:
    once = MemberChanged(identity_of(0, 1).peer_id, "ejected", "sent two blobs")
    twice = MemberChanged(identity_of(0, 2).peer_id, "dropped", "missed 2 rounds")
    tallies = [tally_of(0, once, twice, twice), tally_of(1, twice, once), tally_of(2, twice)]
    peers = [peer_of(tmp_path, tally) for tally in tallies]
    events = judge(peers, [], 0, 1.0, is_interrupted=False).events
    assert [event["reason"] for event in events["ejections"]] == ["sent two blobs"]
    assert len(events["drops"]) == 2


@pytest.mark.parametrize(
    ("events", "wanted", "expected"),
    [
        ([[closed(0), Applied(0, ("a",), 0.1)]], 3, "1 rounds were closed, 3 were wanted"),
        ([[closed(0)]], 1, "peer 0 applied no round"),
        ([[Finished(5)], [Finished(6)]], 0, "peers finished after different rounds: ['5', '6']"),
        ([[Diverged(1, "a", "b")]], 0, "peer 0 found 1 times that its parameters differ"),
    ],
)
def test_shortcomings_only_the_end_shows(
    tmp_path: Path, events: list[list[Event]], wanted: int, expected: str
) -> None:
    peers = [peer_of(tmp_path, tally_of(number, *each)) for number, each in enumerate(events)]
    outcome = judge(peers, [], wanted, 1.0, is_interrupted=False)
    assert outcome.problems == (expected,)
    assert not outcome.ok

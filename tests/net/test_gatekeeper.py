"""What is let through, what is ignored, what is held against its author: without a network."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p import wire
from psyche_p2p.identity import Identity
from psyche_p2p.ids import PeerId, RunId
from psyche_p2p.net.gatekeeper import (
    ACCEPTED,
    Gatekeeper,
    GossipLimits,
    Judgement,
    Outcome,
    Validator,
    ignore,
    reject,
)
from tests import strategies as our
from tests.net.real import identity_of

RUN = RunId(b"r" * 32)
ALICE, BOB, EVE = (identity_of(name) for name in ("alice", "bob", "eve"))
MEMBERS = {ALICE.peer_id, BOB.peer_id}
LIMITS = GossipLimits(
    messages_per_s=2, messages_burst=4, bytes_per_s=100, bytes_burst=2000, remembered=3
)


def accept_all(_: wire.Envelope) -> Judgement:
    return ACCEPTED


def gatekeeper(validate: Validator = accept_all, limits: GossipLimits = LIMITS) -> Gatekeeper:
    return Gatekeeper(RUN, validate, MEMBERS.__contains__, limits)


def vote(height: int, identity: Identity = ALICE, run: RunId = RUN) -> bytes:
    message = wire.Vote(height=height, view=0, step=wire.VoteStep.PREVOTE, block_hash=None)  # type: ignore[arg-type]
    return wire.seal(message, run, identity)


def outcome(gate: Gatekeeper, author: PeerId, data: bytes, now: float = 0.0) -> Outcome:
    return gate.on_message(author, data, now)[0].outcome


def test_an_honest_message_is_accepted_once_whoever_hands_it_over() -> None:
    gate = gatekeeper()
    judgement, envelope = gate.on_message(ALICE.peer_id, vote(1), 0.0)
    assert judgement == ACCEPTED
    assert envelope is not None
    assert (envelope.sender, envelope.message.height) == (ALICE.peer_id, 1)
    assert gate.on_message(BOB.peer_id, vote(1), 0.0) == (ignore("a duplicate"), None)
    assert dict(gate.outcomes) == {Outcome.ACCEPT: 1, Outcome.IGNORE: 1}


def test_what_was_ignored_may_come_again_when_its_time_has_come() -> None:
    verdicts = [ignore("too early"), ACCEPTED]
    gate = gatekeeper(lambda _: verdicts.pop(0))
    assert outcome(gate, ALICE.peer_id, vote(1)) is Outcome.IGNORE
    assert outcome(gate, ALICE.peer_id, vote(1)) is Outcome.ACCEPT


def test_the_window_of_duplicates_is_bounded() -> None:
    gate = gatekeeper()
    for height in range(4):
        gate.remember(vote(height))
    assert outcome(gate, ALICE.peer_id, vote(3)) is Outcome.IGNORE
    assert outcome(gate, ALICE.peer_id, vote(0)) is Outcome.ACCEPT
    assert len(gate._seen) == LIMITS.remembered


def test_lies_are_rejected_with_their_reason() -> None:
    gate = gatekeeper(lambda _: reject("a round of the far future"))
    forged = bytearray(vote(1))
    forged[-1] ^= 1
    cases = {
        b"junk": "not an envelope",
        bytes(forged): "the sender did not sign this",
        vote(1, run=RunId(b"o" * 32)): "an envelope of another run",
        vote(2): "a round of the far future",
        bytes(wire.MAX_ENVELOPE_BYTES + 1): "at most 65536 are allowed",
    }
    for number, (data, reason) in enumerate(cases.items()):
        judgement, envelope = gate.on_message(ALICE.peer_id, data, now=10.0 * number)
        assert (judgement.outcome, envelope) == (Outcome.REJECT, None)
        assert reason in judgement.reason


def test_another_version_is_nobodys_fault() -> None:
    newer = vote(1).replace(b"\x08\x01", b"\x08\x02", 1)
    judgement, _ = gatekeeper().on_message(ALICE.peer_id, newer, 0.0)
    assert judgement.outcome is Outcome.IGNORE
    assert "this peer speaks 1" in judgement.reason


def test_who_lies_often_is_banned_and_later_forgiven() -> None:
    gate = gatekeeper(limits=GossipLimits(max_strikes=3, forgiven_per_s=0.1, ban_s=60))
    for tenth in range(4):
        assert gate.banned(tenth / 10) == frozenset()
        outcome(gate, EVE.peer_id, b"junk", tenth / 10)
    assert gate.banned(1.0) == {EVE.peer_id}
    assert outcome(gate, EVE.peer_id, vote(1), 1.0) is Outcome.IGNORE
    assert outcome(gate, ALICE.peer_id, vote(1), 1.0) is Outcome.ACCEPT
    assert gate.banned(61.0) == frozenset()
    assert outcome(gate, EVE.peer_id, vote(2), 61.0) is Outcome.ACCEPT


def test_rare_mistakes_are_forgiven() -> None:
    gate = gatekeeper(limits=GossipLimits(max_strikes=3, forgiven_per_s=0.1))
    for number in range(100):
        outcome(gate, EVE.peer_id, b"junk", now=number * 10.0)
    assert gate.banned(1000.0) == frozenset()


def test_a_member_has_its_own_budget_and_strangers_share_one() -> None:
    gate = gatekeeper()
    strangers = [Identity.from_seed(bytes([number]) * 32) for number in range(40)]
    heard = [
        outcome(gate, stranger.peer_id, vote(number, stranger))
        for number, stranger in enumerate(strangers)
    ]
    assert heard == [Outcome.ACCEPT] * 4 + [Outcome.IGNORE] * 36
    assert outcome(gate, ALICE.peer_id, vote(100)) is Outcome.ACCEPT
    assert outcome(gate, strangers[0].peer_id, vote(101), now=1.0) is Outcome.ACCEPT


def test_bytes_count_as_well_as_messages() -> None:
    message = wire.Withdraw(epoch=1, reason="x" * 900, nonce=1)  # type: ignore[arg-type]
    other = wire.Withdraw(epoch=2, reason="x" * 900, nonce=1)  # type: ignore[arg-type]
    gate = gatekeeper()
    assert outcome(gate, ALICE.peer_id, wire.seal(message, RUN, ALICE)) is Outcome.ACCEPT
    assert outcome(gate, ALICE.peer_id, wire.seal(other, RUN, ALICE)) is Outcome.IGNORE


@given(st.lists(st.tuples(our.identities, st.binary(max_size=80), st.floats(0, 1)), max_size=60))
def test_whatever_comes_memory_stays_bounded_and_nothing_raises(
    messages: list[tuple[Identity, bytes, float]],
) -> None:
    gate, now = gatekeeper(), 0.0
    for author, data, later in messages:
        now += later
        gate.on_message(author.peer_id, data, now)
    assert len(gate._members) <= len(MEMBERS)
    assert len(gate._seen) <= LIMITS.remembered

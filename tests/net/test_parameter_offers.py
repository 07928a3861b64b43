"""What a donor offers, and what it remembers of what was asked for."""

from __future__ import annotations

from psyche_p2p.clock import ManualClock
from psyche_p2p.ids import BlobHash, RoundIndex, Tier
from psyche_p2p.net.parameter_offers import ParameterOffers
from psyche_p2p.wire.bulk import ParameterOffer


def offer(tier: int, param_round: int) -> ParameterOffer:
    blob_hash = BlobHash(bytes([tier, param_round]) * 16)
    return ParameterOffer(Tier(tier), RoundIndex(param_round), blob_hash, 1000)


def test_the_last_two_of_each_tier_are_offered_and_public() -> None:
    offers = ParameterOffers(ManualClock())
    assert offers.newest_round(Tier(0)) is None
    for number in (3, 5):
        assert offers.offer(offer(0, number)) == ()
        assert offers.offer(offer(1, number)) == ()
    assert offers.offer(offer(0, 8)) == (offer(0, 3),)
    assert offers.current() == (offer(0, 8), offer(0, 5), offer(1, 5), offer(1, 3))
    assert offers.newest_round(Tier(0)) == 8
    assert offers.is_public(offer(0, 5).blob_hash)
    assert not offers.is_public(offer(0, 3).blob_hash)


def test_an_offer_made_twice_is_one() -> None:
    offers = ParameterOffers(ManualClock())
    for _ in range(3):
        assert offers.offer(offer(0, 3)) == ()
    assert offers.current() == (offer(0, 3),)


def test_a_blob_that_another_offer_still_names_may_not_go() -> None:
    """Blobs say their round, but nothing here depends on it."""
    offers = ParameterOffers(ManualClock())
    same = [ParameterOffer(Tier(0), RoundIndex(n), BlobHash(b"s" * 32), 9) for n in (1, 2, 3)]
    assert [offers.offer(one) for one in same] == [(), (), ()]
    assert offers.is_public(BlobHash(b"s" * 32))


def test_an_older_one_than_those_kept_is_not_offered() -> None:
    offers = ParameterOffers(ManualClock())
    for number in (5, 8):
        offers.offer(offer(0, number))
    assert offers.offer(offer(0, 3)) == (offer(0, 3),)
    assert offers.current() == (offer(0, 8), offer(0, 5))


def test_a_withdrawn_blob_is_no_longer_public() -> None:
    offers = ParameterOffers(ManualClock())
    offers.offer(offer(0, 3))
    offers.offer(offer(1, 3))
    offers.withdraw(offer(0, 3).blob_hash)
    assert offers.current() == (offer(1, 3),)
    assert not offers.is_public(offer(0, 3).blob_hash)
    assert offers.newest_round(Tier(0)) is None


def test_what_is_wanted_is_remembered_for_a_while() -> None:
    clock = ManualClock()
    offers = ParameterOffers(clock, wanted_for_s=10.0)
    offers.note_wanted(Tier(1))
    clock.advance_ms(6_000)
    offers.note_wanted(Tier(2))
    assert offers.wanted_tiers() == {1, 2}
    clock.advance_ms(5_000)
    assert offers.wanted_tiers() == {2}
    clock.advance_ms(6_000)
    assert offers.wanted_tiers() == frozenset()

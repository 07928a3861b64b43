"""The shaped network on a virtual clock: delay, order, rate, loss, queues and memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wan_emulation import shaping
from wan_emulation.profile import PathProfile
from wan_emulation.shaping import Delivery, Network

profiles = st.builds(
    PathProfile,
    delay_ms=st.floats(20, 200),
    jitter_ms=st.floats(0, 20),
    loss=st.sampled_from([0.0, 0.3]),
    up_mbit=st.none() | st.floats(0.5, 50),
    down_mbit=st.none() | st.floats(0.5, 50),
    queue_ms=st.floats(5, 500),
)
sendings = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(20, 1500), st.floats(0, 0.02)),
    max_size=60,
)


def drain(network: Network) -> list[Delivery]:
    """Turn the clock from deadline to deadline until nothing is on its way."""
    deliveries = []
    while (deadline_s := network.next_deadline()) is not None:
        deliveries += network.advance(deadline_s)
    return deliveries


def numbered(number: int, size_bytes: int) -> bytes:
    return number.to_bytes(4, "little").ljust(size_bytes, b".")


@given(st.lists(profiles, min_size=3, max_size=3), sendings, st.integers(0, 99))
def test_every_packet_is_delivered_in_order_or_counted(
    ends: list[PathProfile], packets: list[tuple[int, int, int, float]], seed: int
) -> None:
    network, now_s = Network(ends, seed), 0.0
    sent = {}
    for number, (source, target, size_bytes, gap_s) in enumerate(packets):
        now_s += gap_s
        sent[number] = (source, target, now_s)
        network.send(source, target, numbered(number, size_bytes), now_s)
    deliveries = drain(network)
    counters = network.counters
    assert counters.delivered == len(deliveries)
    assert counters.sent == counters.delivered + counters.lost + counters.overflowed
    assert [each.at_s for each in deliveries] == sorted(each.at_s for each in deliveries)
    last: dict[tuple[int, int], int] = {}
    for delivery in deliveries:
        number = int.from_bytes(delivery.packet[:4], "little")
        source, target, at_s = sent[number]
        assert delivery.target == target
        ways = (ends[source], ends[target])
        least_s = sum(way.delay_ms - way.jitter_ms for way in ways) / 2000
        assert delivery.at_s >= at_s + least_s - 1e-9
        assert last.get((source, target), -1) < number
        last[source, target] = number


@given(sendings, st.lists(st.floats(0, 0.5), max_size=10), st.integers(0, 99))
def test_it_does_not_matter_how_the_clock_is_turned(
    packets: list[tuple[int, int, int, float]], looks: list[float], seed: int
) -> None:
    ends = [PathProfile(50, 10, 0.1, 1, 1, 100)] * 3
    often, once = Network(ends, seed), Network(ends, seed)
    for number, (source, target, size_bytes, _) in enumerate(packets):
        for network in (often, once):
            network.send(source, target, numbered(number, size_bytes), 0.0)
    seen = [delivery for now_s in sorted(looks) for delivery in often.advance(now_s)]
    assert seen + drain(often) == drain(once)


def test_an_empty_path_delivers_at_once() -> None:
    network = Network([PathProfile()] * 2)
    network.send(0, 1, b"x", 7.0)
    assert network.advance(7.0) == [Delivery(1, b"x", 7.0)]


def test_a_link_sends_at_its_rate() -> None:
    network = Network([PathProfile(up_mbit=8, down_mbit=80, queue_ms=10_000)] * 2)
    for _ in range(1000):
        network.send(0, 1, bytes(1000), 0.0)
    # 8 Mbit/s are 1000 packets of 1000 bytes a second; the downlink adds a tenth of one
    assert drain(network)[-1].at_s == pytest.approx(1.0001)


def test_several_senders_share_the_receivers_downlink() -> None:
    network = Network([PathProfile(up_mbit=8, down_mbit=8, queue_ms=10_000)] * 3)
    for _ in range(500):
        network.send(0, 2, bytes(1000), 0.0)
        network.send(1, 2, bytes(1000), 0.0)
    assert drain(network)[-1].at_s == pytest.approx(1.001)


def test_a_near_flow_does_not_wait_for_a_far_one() -> None:
    far, near = PathProfile(delay_ms=2000), PathProfile(delay_ms=2)
    network = Network([far, near, PathProfile(delay_ms=0, down_mbit=1)])
    network.send(0, 2, bytes(1250), 0.0)
    network.send(1, 2, bytes(1250), 0.0)
    assert [each.at_s for each in drain(network)] == pytest.approx([0.011, 1.01])


def test_a_full_queue_drops_what_comes_later() -> None:
    network = Network([PathProfile(up_mbit=8, queue_ms=100)] * 2)
    for _ in range(1000):
        network.send(0, 1, bytes(1000), 0.0)
    assert len(drain(network)) == pytest.approx(101, abs=1)
    assert network.counters.overflowed == pytest.approx(899, abs=1)


def test_loss_is_what_was_asked_between_equal_peers() -> None:
    network = Network([PathProfile(loss=0.02)] * 2, seed=1)
    for _ in range(20_000):
        network.send(0, 1, b"x", 0.0)
    assert network.counters.lost / 20_000 == pytest.approx(0.02, abs=0.003)  # 3 sigma


def test_the_same_seed_loses_the_same_packets() -> None:
    def survivors(seed: int) -> list[bytes]:
        network = Network([PathProfile(loss=0.5)] * 2, seed)
        for number in range(100):
            network.send(0, 1, numbered(number, 4), 0.0)
        return [delivery.packet for delivery in drain(network)]

    assert survivors(3) == survivors(3) != survivors(4)


def test_memory_is_bounded_whatever_the_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shaping, "MAX_IN_FLIGHT_BYTES", 10_000)
    network = Network([PathProfile(delay_ms=60_000)] * 2)
    for _ in range(100):
        network.send(0, 1, bytes(1000), 0.0)
    assert (network.counters.overflowed, len(drain(network))) == (90, 10)
    network.send(0, 1, bytes(1000), 100.0)
    assert len(drain(network)) == 1

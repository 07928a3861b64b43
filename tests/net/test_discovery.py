"""Discovery between real daemons: found by run, kept up, healed, and clear about what is wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from psyche_p2p.clock import SystemClock
from psyche_p2p.errors import ConfigError, ResourceError, Unavailable
from psyche_p2p.ids import RunId, Signature, Tier
from psyche_p2p.net.daemon import Daemon, DaemonConfig
from psyche_p2p.net.dht import Dht
from psyche_p2p.net.discovery import Discovery, DiscoveryEvent, SwarmReached
from psyche_p2p.net.multiaddr import Multiaddr, parse_multiaddr
from psyche_p2p.net.records import run_key, subkey_of
from psyche_p2p.wire import PeerRecord, Role
from tests.net.real import LOOPBACK, daemon_of, identity_of, kill, kill_for_good, run, until

pytestmark = pytest.mark.slow  # a daemon a peer
RUN, OTHER_RUN = RunId(b"r" * 32), RunId(b"o" * 32)
LIFE_S = 30.0


class WrongClock(SystemClock):
    """A clock that is off by so much."""

    def __init__(self, offset_s: float) -> None:
        self._offset_ms = int(offset_s * 1000)

    def time_ms(self) -> int:
        return super().time_ms() + self._offset_ms


def record(addresses: Sequence[str], instance: int = 1) -> PeerRecord:
    return PeerRecord(
        instance=instance,
        roles=(Role.TRAINER,),
        tier=Tier(0),
        addresses=tuple(addresses),
        bulk_addresses=(),
        certificate=b"",
        certificate_signature=Signature(bytes(64)),
    )


def address_of(daemon: Daemon) -> Multiaddr:
    return parse_multiaddr(f"{daemon.listen[0]}/p2p/{daemon.peer_id}")


def discovery_of(daemon: Daemon, *bootstrap: Multiaddr, **options: Any) -> Discovery:
    return Discovery(daemon, bootstrap, look_around_s=0.2, **options)


@asynccontextmanager
async def swarm(*names: str) -> AsyncIterator[list[tuple[Daemon, Discovery]]]:
    """Peers that all know the first."""
    async with AsyncExitStack() as stack:
        daemons = await asyncio.gather(
            *(stack.enter_async_context(daemon_of(name)) for name in names)
        )
        seed = address_of(daemons[0])
        yield [
            (daemon, await stack.enter_async_context(discovery_of(daemon, seed)))
            for daemon in daemons
        ]


async def announce(daemon: Daemon, discovery: Discovery, run_id: RunId = RUN) -> None:
    await discovery.announce(run_id, record(await discovery.own_addresses()), LIFE_S)


async def finds(discovery: Discovery, *daemons: Daemon) -> bool:
    return set(await discovery.lookup(RUN)) == {daemon.peer_id for daemon in daemons}


def test_peers_find_each_other_by_run_and_connect() -> None:
    async def test() -> None:
        async with swarm("seed", "alice", "bob", "carol") as ((_, at_seed), alice, bob, carol):
            await announce(*alice)
            await announce(*bob)
            await announce(*carol, OTHER_RUN)
            await until(lambda: finds(at_seed, alice[0], bob[0]))
            found = (await at_seed.lookup(RUN))[alice[0].peer_id]
            assert found.addresses == alice[0].listen
            assert set(await alice[1].lookup(OTHER_RUN)) == {carol[0].peer_id}
            await until(lambda: is_connected(alice[0], bob[0]))

    run(test())


def test_a_relay_is_found_by_everyone() -> None:
    async def test() -> None:
        async with swarm("seed", "alice") as ((seed, at_seed), (_, at_alice)):
            address = f"relay/127.0.0.1:4002/{seed.peer_id}"
            await at_seed.announce_relay(address)

            async def is_found() -> bool:
                return await at_alice.find_relays() == (address,)

            await until(is_found)

    run(test())


def test_a_peer_that_becomes_a_client_is_found_and_finds_others() -> None:
    async def test() -> None:
        async with swarm("seed", "alice", "bob") as (_, (alice, at_alice), (bob, at_bob)):
            await announce(alice, at_alice)
            await announce(bob, at_bob)
            assert await serves_the_dht(at_bob, alice)
            await at_alice.become_client()
            assert not await serves_the_dht(at_bob, alice)
            revised = replace(record(()), bulk_addresses=("192.0.2.1:4002",))
            await at_alice.revise(RUN, revised)

            async def is_found() -> bool:
                found = (await at_bob.lookup(RUN)).get(alice.peer_id)
                return found is not None and found.record == revised

            await until(is_found)
            await until(lambda: finds(at_alice, alice, bob))
            assert alice.generation == 0

    run(test())


async def serves_the_dht(asker: Discovery, asked: Daemon) -> bool:
    """Whether one peer answers another's questions about the DHT."""
    try:
        await asker._require_dht().meet(asked.peer_id)
    except Unavailable:
        return False
    return True


async def is_connected(daemon: Daemon, other: Daemon) -> bool:
    return other.peer_id in await daemon.control.connected_peers()


def test_after_a_daemon_was_killed_the_peer_is_discoverable_within_five_seconds() -> None:
    async def test() -> None:
        async with swarm("seed", "alice", "bob") as ((seed, _), (alice, at_alice), (_, at_bob)):
            await announce(alice, at_alice)
            began = time.monotonic()
            kill(alice)
            await alice.running(after_generation=0)
            await until(lambda: is_connected(alice, seed))
            await until(lambda: finds(at_bob, alice))
            await until(lambda: finds(at_alice, alice))
            assert time.monotonic() - began < 5.0

    run(test())


def test_a_lookup_during_the_daemons_death_fails_at_once_and_shutdown_is_quick() -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            seed, alice = [await stack.enter_async_context(daemon_of(n)) for n in ("seed", "alice")]
            await stack.enter_async_context(discovery_of(seed))
            at_alice = await stack.enter_async_context(discovery_of(alice, address_of(seed)))
            lookups = [asyncio.create_task(at_alice.lookup(RUN)) for _ in range(20)]
            kill(alice)
            began = time.monotonic()
            results = await asyncio.gather(*lookups, return_exceptions=True)
            assert time.monotonic() - began < 3.0
            assert {type(result) for result in results} <= {dict, Unavailable}
            closing = time.monotonic()
        assert time.monotonic() - closing < 3.0

    run(test())


def test_records_outlive_the_death_of_a_third_of_the_swarm() -> None:
    async def test() -> None:
        async with swarm("seed", "a", "b", "c", "d", "e") as peers:
            for daemon, discovery in peers[:4]:
                await announce(daemon, discovery)
            for daemon, _ in peers[4:]:
                kill_for_good(daemon)
            alive = [daemon for daemon, _ in peers[:4]]
            await until(lambda: finds(peers[3][1], *alive))

    run(test())


def test_a_record_is_written_again_before_it_expires() -> None:
    async def test() -> None:
        async with swarm("seed", "alice") as ((_, at_seed), (alice, at_alice)):
            await at_alice.announce(RUN, record(await at_alice.own_addresses()), life_s=3.0)
            first = (await at_seed.lookup(RUN))[alice.peer_id].expires_at_s

            async def is_renewed() -> bool:
                return (await at_seed.lookup(RUN))[alice.peer_id].expires_at_s > first

            await until(is_renewed)
            assert time.time() < first, "it was written again only after it had expired"

    run(test())


def test_a_record_that_nobody_took_at_first_is_published_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    really, refused = Dht.store, list[str]()

    async def store(self: Dht, key: str, *rest: Any) -> bool:
        if len(refused) < 2:
            refused.append(key)
            return False
        return await really(self, key, *rest)

    async def test() -> None:
        async with swarm("seed", "alice") as ((_, at_seed), (alice, at_alice)):
            monkeypatch.setattr(Dht, "store", store)
            await announce(alice, at_alice)
            await until(lambda: finds(at_seed, alice))

    run(test())
    assert len(refused) == 2


def test_one_bootstrap_address_that_works_is_enough() -> None:
    async def test() -> None:
        async with daemon_of("seed") as seed, daemon_of("alice") as alice:
            dead = [
                parse_multiaddr(f"/ip4/127.0.0.1/tcp/{port}/p2p/{identity_of('dead').peer_id}")
                for port in (1, 2, 3)
            ]
            async with (
                discovery_of(seed),
                discovery_of(alice, *dead, address_of(seed)) as at_alice,
            ):
                await announce(alice, at_alice)
                assert await finds(at_alice, alice)

    run(test())


def test_two_swarms_that_formed_apart_become_one() -> None:
    async def test() -> None:
        events: list[DiscoveryEvent] = []
        (reserved,) = LOOPBACK
        async with daemon_of("left") as left, daemon_of("right-seed") as once:
            reserved = once.listen[0]  # known, and soon out of reach
            far = address_of(once)
            async with discovery_of(left, address_of(left), far, on_event=events.append) as at_left:
                await announce(left, at_left)
                await once.__aexit__()
                config = DaemonConfig(once.config.identity, listen=(reserved,))
                async with Daemon(config) as right, discovery_of(right) as at_right:
                    await announce(right, at_right)
                    await until(lambda: finds(at_left, left, right))
                    await until(lambda: finds(at_right, left, right))
        assert SwarmReached((identity_of("right-seed").peer_id,)) in events

    run(test())


@pytest.mark.parametrize(("offset_s", "words"), [(3600, "ahead of"), (-3600, "behind")])
def test_a_clock_an_hour_off_is_reported_as_such(offset_s: float, words: str) -> None:
    async def test() -> None:
        async with daemon_of("seed") as seed, daemon_of("alice") as alice, discovery_of(seed):
            with pytest.raises(ResourceError) as caught:
                async with discovery_of(alice, address_of(seed), clock=WrongClock(offset_s)):
                    pass
        assert f"clock is 3600 s {words} the swarm's" in str(caught.value)
        assert "timedatectl" in caught.value.cure

    run(test())


def test_another_peer_behind_the_bootstrap_address_is_one_line() -> None:
    async def test() -> None:
        async with daemon_of("seed") as seed, daemon_of("alice") as alice, discovery_of(seed):
            wrong = parse_multiaddr(f"{seed.listen[0]}/p2p/{identity_of('ghost').peer_id}")
            with pytest.raises(ConfigError, match="another peer than 12D3KooW"):
                async with discovery_of(alice, wrong):
                    pass

    run(test())


def test_a_list_of_which_nothing_works_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psyche_p2p.net.discovery.JOIN_PATIENCE_S", 0.3)
    ghost = identity_of("ghost").peer_id
    dead = [parse_multiaddr(f"/ip4/127.0.0.1/tcp/{port}/p2p/{ghost}") for port in (1, 2)]

    async def test() -> None:
        async with daemon_of("alice") as alice:
            with pytest.raises(Unavailable, match="none of 2 bootstrap addresses") as caught:
                async with discovery_of(alice, *dead):
                    pass
            assert "nobody listens there" in str(caught.value)

    run(test())


def test_an_identity_in_use_is_one_line_and_an_old_record_is_no_obstacle() -> None:
    async def test() -> None:
        async with swarm("seed", "alice") as ((seed, _), (alice, at_alice)):
            await announce(alice, at_alice)
            async with daemon_of("alice") as twin, discovery_of(twin, address_of(seed)) as at_twin:
                addresses = await at_twin.own_addresses()
                with pytest.raises(ResourceError, match="is in use by the peer at"):
                    await at_twin.announce(RUN, record(addresses, instance=2), LIFE_S)
                alices_port = alice.listen[0]
            await at_alice.__aexit__()
            await alice.__aexit__()
            async with daemon_of("alice") as again, discovery_of(again, address_of(seed)) as later:
                assert again.listen[0] != alices_port
                addresses = await later.own_addresses()
                await later.announce(RUN, record(addresses, instance=2), LIFE_S)
                assert (await later.lookup(RUN))[again.peer_id].record.instance == 2

    run(test())


def test_a_run_is_found_by_its_name_and_the_most_populous_comes_first() -> None:
    async def test() -> None:
        async with swarm("a", "b", "c") as peers:
            for index, (daemon, discovery) in enumerate(peers):
                run_id, name = (RUN, "ours") if index < 2 else (RunId(bytes([7] * 32)), "theirs")
                addresses = [str(address) for address in daemon.listen]
                await discovery.announce(run_id, record(addresses), 60, name)
            found = await peers[2][1].find_runs()
        assert [(run.name, run.peers) for run in found] == [("ours", 2), ("theirs", 1)]
        assert found[0].run_id == RUN

    run(test())


def test_a_stranger_cannot_write_under_anothers_name_nor_without_one() -> None:
    async def test() -> None:
        async with swarm("seed", "alice", "eve") as (_, (alice, at_alice), (_, at_eve)):
            await announce(alice, at_alice)
            dht, until_s = at_eve._require_dht(), time.time() + 600
            assert not await dht.store(run_key(RUN), subkey_of(alice.peer_id), b"evil", until_s)
            assert not await dht.store(run_key(RUN), b"plain", b"evil", until_s)
            assert (await at_eve.lookup(RUN))[alice.peer_id].addresses == alice.listen

    run(test())

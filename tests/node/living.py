"""Whole peers in one process, with real daemons, ports and trainers; waited for by their events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from psyche_p2p.cli.run import toml_lines
from psyche_p2p.clock import SystemClock
from psyche_p2p.config import RunConfig, load_run_config
from psyche_p2p.config.load import check_run_config
from psyche_p2p.identity import Identity
from psyche_p2p.ids import Tier
from psyche_p2p.keyfile import save_key
from psyche_p2p.net.multiaddr import Multiaddr, require_peer_address
from psyche_p2p.node.options import PeerOptions, parse_listen
from psyche_p2p.node.peer import Peer
from psyche_p2p.observe import events

NANO = Path(__file__).parents[2] / "configs" / "nano.toml"
EventT = TypeVar("EventT", bound=events.Event)


def make_config(**sections: dict[str, Any]) -> RunConfig:
    """The nano run with short waits; keyword arguments override keys of its sections."""
    values = load_run_config(NANO).model_dump()
    values["members"]["waiting_for_members_extra_s"] = 0.5
    values["rounds"] |= {"cooldown_s": 0.5, "max_round_train_s": 120.0, "epoch_s": 3600.0}
    for name, section in sections.items():
        values[name] |= section
    return check_run_config(values, "a test's configuration")


def write_run_file(config: RunConfig, path: Path) -> Path:
    path.write_text("\n".join([*toml_lines(config), ""]))
    return path


class LivingPeer:
    """A peer that runs, and everything it reported."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []
        self.stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def emit(self, event: events.Event) -> None:
        self.events.append(event)
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def until(
        self, kind: type[EventT], fits: Callable[[EventT], bool] = lambda _: True
    ) -> EventT:
        """The first event of a kind that fits; what ended the peer, if it ended before."""
        while (found := self.find(kind, fits)) is None:
            assert self.task is not None
            if self.task.done():
                self.task.result()
                raise AssertionError(f"the peer ended and there was no such {kind.__name__}")
            news = asyncio.create_task(self._news.wait())
            await asyncio.wait({news, self.task}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
        return found

    def find(
        self, kind: type[EventT], fits: Callable[[EventT], bool] = lambda _: True
    ) -> EventT | None:
        return next((one for one in self.events if isinstance(one, kind) and fits(one)), None)

    async def address(self) -> Multiaddr:
        """What others join with."""
        return require_peer_address((await self.until(events.Started)).addresses[0])


def options_of(home: Path, **changes: Any) -> PeerOptions:
    values: dict[str, Any] = {
        "home": home,
        "bootstrap": (),
        "run": None,
        "run_file": None,
        "tier": Tier(2),
        "listen": parse_listen("127.0.0.1"),
        "announce": None,
        "events": home / "events.jsonl",
        "data_dir": None,
        "device": "cpu",
        "threads": 1,
        "micro_batch": 4,
        "store_bytes": 1 << 30,
    }
    return PeerOptions(**values | changes)


def _have_key(home: Path, identity: Identity) -> None:
    home.mkdir(parents=True)
    save_key(identity, home / "peer.key")


@asynccontextmanager
async def living(
    home: Path, identity: Identity | None = None, **changes: Any
) -> AsyncIterator[LivingPeer]:
    """A peer for as long as the block lasts."""
    if identity is not None:
        _have_key(home, identity)
    peer = LivingPeer()
    node = Peer(options_of(home, **changes), SystemClock(), peer.emit)
    peer.task = asyncio.create_task(node.run(peer.stop))
    try:
        yield peer
    finally:
        peer.task.cancel()
        await asyncio.gather(peer.task, return_exceptions=True)

"""What a peer does about the answer to whether others can reach it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from psyche_p2p.net.reachability import Reach, Reachability
from psyche_p2p.node import reach
from psyche_p2p.node.options import PeerOptions, ReachChoice, Reached
from psyche_p2p.node.reach import stay_reachable
from tests.node.living import options_of

TEST_S = 20


class Stage:
    """The self-test, the detour and the DHT, all at once; what happened is written down."""

    def __init__(self, *verdicts: Reach | None) -> None:
        self.happened: list[str] = []
        self.is_settled = asyncio.Event()
        self._verdicts = list(verdicts)
        self.test: Any = _Test(self)
        self.detour: Any = _Detour(self)

    async def next_verdict(self) -> Reachability | None:
        await asyncio.sleep(0)
        if not self._verdicts:
            self.is_settled.set()
            await asyncio.Event().wait()
        verdict = self._verdicts.pop(0)
        self.happened.append("test")
        return None if verdict is None else Reachability(verdict, (), "because", "")

    def play(self, how: Reached, *, relays: bool = False) -> list[str]:
        """Until the peer has nothing more to do, or is on a detour with no more verdicts."""

        options = options_of(Path("home"), reach=ReachChoice(how), relay=relays)

        async def scenario() -> None:
            playing = asyncio.create_task(self._play(options))
            settled = asyncio.create_task(self.is_settled.wait())
            await asyncio.wait({playing, settled}, return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                playing.result()
            settled.cancel()
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

        asyncio.run(asyncio.wait_for(scenario(), TEST_S))
        return self.happened

    async def _play(self, options: PeerOptions) -> None:
        await stay_reachable(options, self.test, self.detour, self._become_client)
        self.happened.append("done")

    async def _become_client(self) -> None:
        self.happened.append("client")


class _Test:
    def __init__(self, stage: Stage) -> None:
        self.run = stage.next_verdict


class _Detour:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def run(self) -> None:
        self._stage.happened.append("detour")
        if "test" not in self._stage.happened:
            self._stage.is_settled.set()  # and no test will come
        await asyncio.Event().wait()

    async def end(self) -> None:
        self._stage.happened.append("dialled again")


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_TEST_AGAIN_S", dict.fromkeys(Reach, 0.01))


def test_who_can_be_reached_needs_nothing() -> None:
    assert Stage(Reach.REACHABLE).play(Reached.AUTO) == ["test", "done"]


def test_who_cannot_takes_the_detour_keeps_nothing_for_others_and_tests_again() -> None:
    stage = Stage(Reach.UNREACHABLE, Reach.UNREACHABLE, None, Reach.REACHABLE)
    happened = stage.play(Reached.AUTO)
    assert happened[:3] == ["test", "client", "detour"]
    assert happened[3:] == ["test", "test", "test", "dialled again", "done"]


def test_who_cannot_tell_takes_the_detour_and_goes_on_serving_the_dht() -> None:
    assert Stage(None, Reach.UNKNOWN).play(Reached.AUTO) == ["test", "test", "detour"]


def test_the_operators_word_counts_more() -> None:
    assert Stage(Reach.REACHABLE).play(Reached.RELAY) == ["detour"]
    assert Stage(Reach.UNREACHABLE).play(Reached.DIRECT) == ["test", "done"]
    assert Stage(Reach.UNREACHABLE).play(Reached.AUTO, relays=True) == ["test", "done"]

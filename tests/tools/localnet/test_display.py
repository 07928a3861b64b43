"""What a person sees while a network runs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from localnet_parts.display import Display, Lines, LiveTable
from localnet_parts.peer import Peer
from localnet_parts.plan import identity_of
from localnet_parts.tally import Tally

from psyche_p2p.observe.events import Applied, PhaseEntered, Recorded, RoundClosed, Trained


def peers(folder: Path) -> list[Peer]:
    running = Tally(identity_of(0, 0).peer_id, 0, "trainer")
    for event in (
        PhaseEntered("TRAIN", 0, 2),
        Trained(3, 0, 4, 4.25, 500, 0.5),
        RoundClosed(3, 5, 1, 1, (), ()),
        Applied(3, ("11" * 32, "ab" * 32), 0.1),
    ):
        running.on_event(Recorded(0, event))
    waiting = Tally(identity_of(0, 1).peer_id, 0, "witness")
    return [Peer(0, running, folder / "peer0"), Peer(1, waiting, folder / "peer1")]


@pytest.mark.parametrize("kind", [Lines, LiveTable])
def test_where_the_network_is(
    tmp_path: Path, kind: type[Lines | LiveTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    stream = io.StringIO()
    display: Display = kind(stream, 64)
    display.show(peers(tmp_path), 12.0)
    display.say("killing [somebody]")
    display.close()
    text = stream.getvalue()
    assert "1 of 64 rounds, TRAIN, loss 4.2500" in text
    assert "1000 tokens/s" in text
    assert "killing [somebody]" in text
    assert ("witness" in text) is (kind is LiveTable)
    assert ("11111111" in text) is (kind is LiveTable)


def test_a_line_comes_only_now_and_then(tmp_path: Path) -> None:
    stream = io.StringIO()
    lines = Lines(stream, 64)
    for tenth in range(60):
        lines.show(peers(tmp_path), tenth / 10)
    assert stream.getvalue().count("\n") == 2

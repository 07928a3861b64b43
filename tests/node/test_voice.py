"""What a peer says: of a batch always the same, of everything else what it is told to."""

from __future__ import annotations

from pathlib import Path

from psyche_p2p.config import load_run_config, run_id
from psyche_p2p.consensus import IdentitySigner
from psyche_p2p.identity import Identity
from psyche_p2p.ids import EpochIndex
from psyche_p2p.node.promises import Promises
from psyche_p2p.node.voice import Voice
from psyche_p2p.wire import Envelope
from psyche_p2p.wire.messages import Withdraw
from tests.node.test_promises import FIRST, OTHER

RUN = run_id(load_run_config(Path(__file__).parents[2] / "configs" / "nano.toml"))


def voice_of(folder: Path, heard: list[Envelope]) -> Voice:
    """That of a process which has just started in this folder."""
    signer = IdentitySigner(Identity.from_seed(bytes(32)), RUN)
    return Voice(signer, Promises.open(folder / "promises"), heard.append, lambda _: None)


def test_a_restarted_peer_repeats_its_commitment_instead_of_making_another(tmp_path: Path) -> None:
    heard: list[Envelope] = []
    first = voice_of(tmp_path, heard).say(FIRST)
    again = voice_of(tmp_path, heard).say(OTHER)
    assert again.raw == first.raw, "two commitments to one batch are misconduct"
    assert heard == [first, again]


def test_other_words_are_not_bound(tmp_path: Path) -> None:
    voice = voice_of(tmp_path, [])
    words = [Withdraw(EpochIndex(1), reason, 2) for reason in ("one", "another")]
    assert [voice.say(word).message for word in words] == words

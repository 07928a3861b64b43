"""Checkpoints to a hub, by the hub's own library, against a stand-in on this machine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from psyche_p2p.ids import RoundIndex
from psyche_p2p.node.uploads import Uploader
from psyche_p2p.observe.events import CheckpointUploaded, Event
from tests.node.stand_in_hub import TOKEN, StandInHub, stand_in_hub

LIMIT_S = 120.0


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    with stand_in_hub() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # a protocol of its own, and compiled
        yield found


def write_folder(path: Path, word: str) -> Path:
    path.mkdir()
    (path / "config.json").write_text(f'{{"word": "{word}"}}')
    (path / "model.safetensors").write_bytes(word.encode() * 1000)
    return path


def upload(work: dict[int, Path]) -> list[Event]:
    """What the uploader reports of these checkpoints, offered one after the other at once."""
    emitted: list[Event] = []

    async def main() -> None:
        uploader = Uploader("me/model", emitted.append, first_backoff_s=0.01)
        task = asyncio.create_task(uploader.run())
        for rounds, folder in work.items():
            uploader.offer(folder, RoundIndex(rounds))
        await uploader.drain(asyncio.Event())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), LIMIT_S))
    return emitted


def test_a_checkpoint_becomes_a_commit_of_a_private_repository(
    tmp_path: Path, hub: StandInHub
) -> None:
    folder = write_folder(tmp_path / "round-00000016", "sixteen")
    assert upload({16: folder}) == [CheckpointUploaded(16, f"{1:040x}")]
    wanted = hub.repos["me/model"]
    assert wanted.get("visibility") == "private" or wanted.get("private") is True
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert hub.commits == [("after 16 rounds", files)]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]  # nothing is left over


def test_only_the_newest_of_those_that_wait_is_uploaded_after_a_refusal(
    tmp_path: Path, hub: StandInHub
) -> None:
    hub.refusals = 1
    work = {n: write_folder(tmp_path / f"round-{n:08}", f"of {n}") for n in (8, 16)}
    assert upload(work) == [CheckpointUploaded(16, f"{1:040x}")]
    assert [message for message, _ in hub.commits] == ["after 16 rounds"]


class Ear(logging.Handler):
    """Hears what is logged, and says when."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.has_heard = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(str(record.__dict__))
        self.has_heard.set()


def test_a_refusal_is_logged_with_the_reason_of_the_hub_and_a_stop_does_not_wait_for_it(
    tmp_path: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_a_strangers")
    folder = write_folder(tmp_path / "round-00000008", "eight")
    ear = Ear()
    logger = logging.getLogger("psyche_p2p.node.uploads")

    async def main() -> None:
        told = asyncio.Event()
        uploader = Uploader("me/model", lambda _: None)
        task = asyncio.create_task(uploader.run())
        uploader.offer(folder, RoundIndex(8))
        await ear.has_heard.wait()
        told.set()
        await uploader.drain(told)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    logger.addHandler(ear)
    try:
        asyncio.run(asyncio.wait_for(main(), LIMIT_S))
    finally:
        logger.removeHandler(ear)
    assert "Invalid username or password" in ear.heard[0]
    assert hub.commits == []
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]

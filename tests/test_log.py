"""Log lines: events with fields, for machines and for people, with the context they happened in."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from psyche_p2p.log import configure_logging, get_logger, log_context

log = get_logger("psyche_p2p.test")


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger("psyche_p2p")
    saved = (root.handlers[:], root.level, root.propagate)
    yield
    root.handlers[:], level, root.propagate = saved
    root.setLevel(level)


def test_json_lines_carry_fields_and_context() -> None:
    stream = io.StringIO()
    configure_logging(as_json=True, stream=stream)
    with log_context(run="r1", peer="p1"), log_context(round=3):
        log.info("round closed", accepted=2, root=b"\x01\x02")
    log.info("outside")
    inside, outside = (json.loads(line) for line in stream.getvalue().splitlines())
    assert {key: inside[key] for key in ("event", "run", "peer", "round", "accepted", "root")} == {
        "event": "round closed", "run": "r1", "peer": "p1", "round": 3, "accepted": 2,
        "root": "0102",
    }  # fmt: skip
    assert "run" not in outside
    assert inside["level"] == "info"


def test_a_library_that_renames_levels_does_not_rename_ours() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    before = logging.getLevelName(logging.WARNING)
    logging.addLevelName(logging.WARNING, "OH DEAR")
    try:
        log.warning("peer left")
    finally:
        logging.addLevelName(logging.WARNING, before)
    assert "WARNING peer left" in stream.getvalue()


def test_lines_for_people_are_one_line_each() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    log.warning("peer left", reason="two\nlines", peer="12D3")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith('WARNING peer left reason="two\\nlines" peer=12D3')


def test_the_level_decides() -> None:
    stream = io.StringIO()
    configure_logging(level=logging.WARNING, stream=stream)
    log.debug("no")
    log.info("no")
    log.error("yes")
    assert stream.getvalue().count("\n") == 1


def test_an_exception_brings_its_traceback() -> None:
    stream = io.StringIO()
    configure_logging(as_json=True, stream=stream)
    try:
        int("the cause")
    except ValueError:
        log.exception("task failed", task="gossip")
    entry = json.loads(stream.getvalue())
    assert "ValueError: invalid literal" in entry["traceback"]
    assert entry["task"] == "gossip"

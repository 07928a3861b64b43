"""The event stream: every event survives the file, and no disk or reader can break the peer."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.clock import ManualClock
from psyche_p2p.errors import StorageError
from psyche_p2p.observe import event_log
from psyche_p2p.observe.event_log import EventLog, EventTail, read_events
from psyche_p2p.observe.events import (
    EVENTS,
    Applied,
    Event,
    Recorded,
    Restarted,
    RoundClosed,
    Trained,
    decode_event,
    encode_event,
)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) is tuple:
        return st.lists(values_of(get_args(hint)[0]), max_size=3).map(tuple)
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    simple = {int: st.integers(0, 1 << 53), float: st.floats(allow_nan=False, allow_infinity=False)}
    return simple.get(hint, st.text())


def events_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    hints = get_type_hints(kind)
    hints.pop("NAME")
    return st.builds(kind, **{name: values_of(hint) for name, hint in hints.items()})


any_event = st.sampled_from(list(EVENTS.values())).flatmap(events_of)


def round_closed(number: int) -> RoundClosed:
    return RoundClosed(number, number + 2, 1, 1, (), ())


def rounds_in(recorded: list[Recorded]) -> list[int]:
    return [each.event.round for each in recorded if isinstance(each.event, RoundClosed)]


@given(any_event, st.integers(0, 1 << 53))
def test_every_event_survives_its_line(event: Event, time_ms: int) -> None:
    line = encode_event(time_ms, event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_event(line) == Recorded(time_ms, event)


def test_the_names_are_those_that_readers_know() -> None:
    assert sorted(EVENTS) == [
        "accused", "applied", "attested", "checkpoint_uploaded", "checkpoint_written",
        "diverged", "evaluated", "finished", "member", "parameters_arriving", "phase", "restarted",
        "resynced",
        "root_agreed", "round_closed", "run_found", "started", "stopped", "traffic", "trained",
    ]  # fmt: skip


def test_a_line_is_json_for_every_reader_even_when_the_loss_is_not_a_number() -> None:
    line = encode_event(7, Trained(1, 0, 4, math.nan, 512, 0.5))
    assert json.loads(line) == {
        "time_ms": 7, "event": "trained", "round": 1, "batch_start": 0, "batch_end": 4,
        "loss": None, "tokens": 512, "seconds": 0.5,
    }  # fmt: skip
    event = decode_event(line).event
    assert isinstance(event, Trained)
    assert math.isnan(event.loss)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b'{"event":"finished","param_round":3}',
        b'{"time_ms":1,"event":"finished"}',
        b'{"time_ms":1,"event":"finished","param_round":"3"}',
        b'{"time_ms":1,"event":"finished","param_round":true}',
        b'{"time_ms":1,"event":"later_invention"}',
        b'{"time_ms":1,"event":["finished"],"param_round":3}',
        b'{"time_ms":1,"event":"restarted","what":"kernel","reason":""}',
        b'{"time_ms":1,"event":"applied","param_round":1,"roots":"ab","seconds":1}',
        b"\xff\xfe",
    ],
)
def test_a_line_that_is_no_event_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode_event(line)


def test_a_reader_sees_each_event_once_and_at_once(tmp_path: Path) -> None:
    clock, path = ManualClock(5), tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.read() == []
    with EventLog.open(path, clock) as log:
        log.write(round_closed(1))
        assert tail.read() == [Recorded(5, round_closed(1))]
        clock.advance_ms(10)
        log.write(Applied(1, ("ab", "cd"), 0.25))
        assert tail.read() == [Recorded(15, Applied(1, ("ab", "cd"), 0.25))]
        assert tail.read() == []
    tail.close()


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path, line = tmp_path / "events.jsonl", encode_event(1, round_closed(4))
    tail = EventTail(path)
    with path.open("ab", buffering=0) as file:
        for cut in range(1, len(line)):
            file.write(line[cut - 1 : cut])
            assert tail.read() == []
        file.write(line[-1:])
    assert rounds_in(tail.read()) == [4]
    tail.close()


def test_a_process_killed_in_mid_line_costs_that_line_only(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog.open(path) as log:
        log.write(round_closed(1))
    with path.open("ab") as file:
        file.write(encode_event(1, round_closed(2))[:-9])
    with EventLog.open(path) as log:
        log.write(round_closed(3))
        log.write(round_closed(4))
    assert rounds_in(read_events(path)) == [1, 3, 4]


def test_the_file_is_bounded_and_a_reader_follows_its_rotation(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail, seen = EventTail(path), []
    with EventLog.open(path, max_bytes=1000) as log:
        for number in range(40):
            log.write(round_closed(number))
            seen += rounds_in(tail.read())
    tail.close()
    assert seen == list(range(40))
    sizes = [entry.stat().st_size for entry in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 1000
    kept = rounds_in(read_events(path))
    assert kept == list(range(kept[0], 40))
    assert len(kept) > 5


def test_a_full_disk_costs_events_and_one_warning_never_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "events.jsonl", os.write
    log_lines = Mock()
    monkeypatch.setattr(event_log, "_log", log_lines)

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    def nearly_full(descriptor: int, data: bytes) -> int:
        return real(descriptor, data[:20])

    with EventLog.open(path) as log:
        log.write(round_closed(1))
        for number, disk in ((2, full), (3, nearly_full), (4, full), (5, real)):
            monkeypatch.setattr(os, "write", disk)
            log.write(round_closed(number))
        assert log.lost == 3
    assert rounds_in(read_events(path)) == [1, 5]
    log_lines.warning.assert_called_once()
    assert "free some space" in log_lines.warning.call_args.kwargs["reason"]


def test_a_file_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="create the folder first"):
        EventLog.open(tmp_path / "nowhere" / "events.jsonl")


def test_writing_after_closing_is_counted(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path / "events.jsonl")
    log.close()
    log.close()
    log.write(Restarted("node", "killed"))
    assert log.lost == 1

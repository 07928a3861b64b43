"""The run's log as bytes: what a run begins with, then every decided block, each in a frame.

frame 1   "psyche-p2p log 1"
frame 2   the run's configuration, canonical
frame 3   Genesis
frame 4   the founders' Certificate over the genesis; empty where authorities decide
frame 5.. DecidedBlock, from height 1 on without gaps
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from psyche_p2p.config import RunConfig, canonical_bytes, decode_run_config
from psyche_p2p.coordinator.signed import Verify
from psyche_p2p.coordinator.state import State, genesis_state
from psyche_p2p.errors import ConfigError, Rejected, RemoteError, WireError
from psyche_p2p.identity import verify as verify_signature
from psyche_p2p.wire.codec import decode, encode, max_encoded_bytes
from psyche_p2p.wire.commands import Genesis
from psyche_p2p.wire.framing import encode_frame
from psyche_p2p.wire.messages import Certificate, DecidedBlock

LOG_MAGIC = b"psyche-p2p log 1"
MAX_LOG_FRAME_BYTES = max_encoded_bytes(Genesis)


class BrokenLog(RemoteError):
    """A log that does not hold what it should, from some height on."""

    def __init__(self, height: int, reason: str) -> None:
        super().__init__(f"the log breaks at height {height}: {reason}", "fetch it again")
        self.height = height
        self.reason = reason


@dataclass(frozen=True, slots=True)
class LogHead:
    """What a log begins with."""

    config: RunConfig
    genesis: Genesis
    founding: Certificate | None


def encode_log_head(head: LogHead) -> bytes:
    """The frames that a log begins with."""
    founding = b"" if head.founding is None else encode(head.founding)
    parts = (LOG_MAGIC, canonical_bytes(head.config), encode(head.genesis), founding)
    return b"".join(encode_frame(part) for part in parts)


def encode_log_entry(decided: DecidedBlock) -> bytes:
    """The frame that a decided block adds to a log."""
    return encode_frame(encode(decided))


def decode_log_head(frames: Iterator[bytes]) -> LogHead:
    """What the first frames say; BrokenLog if they are not the beginning of a log."""
    try:
        if next(frames, b"") != LOG_MAGIC:
            raise BrokenLog(0, "this is not the log of a run")
        config = decode_run_config(next(frames, b""), "the log's configuration")
        genesis = decode(Genesis, next(frames, b""))
        founding = next(frames, b"")
        return LogHead(config, genesis, decode(Certificate, founding) if founding else None)
    except (WireError, ConfigError) as error:
        raise BrokenLog(0, error.cause) from error


def decode_log_entries(frames: Iterable[bytes]) -> Iterator[DecidedBlock]:
    """The decided blocks in the remaining frames; BrokenLog at one that is none, or at a gap."""
    height = 0
    frames = iter(frames)
    while True:
        height += 1
        try:
            frame = next(frames, None)
            if frame is None:
                return
            decided = decode(DecidedBlock, frame)
        except WireError as error:
            raise BrokenLog(height, error.cause) from error
        if decided.block.height != height:
            raise BrokenLog(height, f"height {decided.block.height} stands in its place")
        yield decided


def begin_log(head: LogHead, verify: Verify = verify_signature) -> State:
    """The state that a log begins with."""
    try:
        return genesis_state(head.config, head.genesis, verify)
    except Rejected as rejected:
        raise BrokenLog(0, rejected.cause) from rejected

"""What this peer committed to, on disk before it is said.

Training is not repeatable: an optimizer's momentum dies with its process. A peer that is killed
after it committed to a batch, and trains it again, would commit to something else, and that is
misconduct that everyone can prove. Whoever has promised says the same again.
"""

from __future__ import annotations

from pathlib import Path

from typing_extensions import Self

from psyche_p2p.errors import StorageError, WireError
from psyche_p2p.files import storage_error, write_atomically
from psyche_p2p.ids import BatchInterval, EpochIndex, RoundIndex
from psyche_p2p.wire import Commitment, FrameDecoder, decode, encode, encode_frame

_KEPT_ROUNDS = 16  # far more than are ever open at once
_MAX_FRAME_BYTES = 1 << 12
_CURE = "move it away, wait until the rounds that are open now are closed, and start again"

_Batch = tuple[EpochIndex, RoundIndex, BatchInterval]


class Promises:
    """The commitments of the last rounds, one a batch."""

    def __init__(self, path: Path, kept: dict[_Batch, Commitment]) -> None:
        self._path = path
        self._kept = kept

    @classmethod
    def open(cls, path: Path) -> Self:
        """What an earlier process promised; a StorageError if that cannot be known any more."""
        decoder = FrameDecoder(_MAX_FRAME_BYTES)
        try:
            promised = [decode(Commitment, frame) for frame in decoder.feed(path.read_bytes())]
            decoder.finish()
        except FileNotFoundError:
            promised = []
        except WireError as error:
            raise StorageError(f"{str(path)!r} is damaged: {error.cause}", _CURE) from error
        except OSError as error:
            raise storage_error("cannot read", path, error) from error
        return cls(path, {_batch_of(one): one for one in promised})

    def bind(self, commitment: Commitment) -> Commitment:
        """What may be said of a batch: what was said first, which this is if there was nothing."""
        earlier = self._kept.get(_batch_of(commitment))
        if earlier is not None:
            return earlier
        first = commitment.round - _KEPT_ROUNDS
        self._kept = {batch: one for batch, one in self._kept.items() if one.round >= first}
        self._kept[_batch_of(commitment)] = commitment
        data = b"".join(encode_frame(encode(one)) for one in self._kept.values())
        write_atomically(self._path, data, mode=0o600)
        return commitment


def _batch_of(commitment: Commitment) -> _Batch:
    return commitment.epoch, commitment.round, commitment.batch

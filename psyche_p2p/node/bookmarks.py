"""How far the logs of runs were checked when somebody last looked, so that the next look goes on.

A bookmark is a state in a folder of our own. Blocks beyond it must follow it and carry their
certificates like any others, so one of a log that does not exist finds nothing that follows.
"""

from __future__ import annotations

from pathlib import Path

from psyche_p2p.coordinator import State, decode_state, encode_state, genesis_hash
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.errors import PsycheError
from psyche_p2p.files import write_atomically
from psyche_p2p.hashing import DIGEST_BYTES, hash_parts
from psyche_p2p.log import get_logger

_log = get_logger(__name__)


class Bookmarks:
    """One for each beginning of a run; without a folder, none is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, head: LogHead) -> State | None:
        """The state to go on from; None if there is none, or it is damaged."""
        if self._folder is None:
            return None
        try:
            data = self._path(self._folder, head).read_bytes()
            check, encoded = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
            return decode_state(encoded, head.config) if check == _check(encoded) else None
        except (OSError, PsycheError) as error:
            _log.debug("no bookmark", cause=str(error))
            return None

    def keep(self, head: LogHead, state: State) -> None:
        """Go on from this state the next time; a folder that cannot be written costs only time."""
        if self._folder is None:
            return
        encoded = encode_state(state)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self._path(self._folder, head)
            write_atomically(path, _check(encoded) + encoded, mode=0o600)
        except (OSError, PsycheError) as error:
            _log.debug("no bookmark kept", cause=str(error))

    def _path(self, folder: Path, head: LogHead) -> Path:
        return folder / genesis_hash(head.genesis).hex()[:32]


NO_BOOKMARKS = Bookmarks(None)


def _check(encoded: bytes) -> bytes:
    return hash_parts("bookmark", encoded)

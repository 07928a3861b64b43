"""Chunks that were served last, kept in memory: a blob just committed is fetched by everyone."""

from __future__ import annotations

from collections import OrderedDict

from psyche_p2p.ids import BlobHash

ChunkKey = tuple[BlobHash, int]


class ChunkCache:
    """The chunks used last, up to a number of bytes. One thread's: the event loop's."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._chunks: OrderedDict[ChunkKey, bytes] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def get(self, key: ChunkKey) -> bytes | None:
        """The chunk, if it is here; it is then the last to go."""
        found = self._chunks.get(key)
        if found is not None:
            self._chunks.move_to_end(key)
        return found

    def put(self, key: ChunkKey, chunk: bytes) -> None:
        """Keep a chunk, and let go of those that were not used for longest."""
        before = self._chunks.pop(key, b"")
        self._chunks[key] = chunk
        self._size_bytes += len(chunk) - len(before)
        while self._size_bytes > self._max_bytes:
            self._size_bytes -= len(self._chunks.popitem(last=False)[1])

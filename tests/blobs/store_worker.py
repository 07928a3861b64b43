"""What tests run in processes of their own, to kill them: python -m tests.blobs.store_worker.

Every line it prints has happened before it is printed.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

from psyche_p2p.blobs import BlobStore, PartialBlob, SealedBlob
from psyche_p2p.blobs.manifest import split_chunks
from psyche_p2p.errors import StorageError, Unavailable
from psyche_p2p.ids import RoundIndex
from tests.blobs.builders import make_large


def add_many(root: Path, max_bytes: int, seeds: range, size_bytes: int) -> None:
    """Add blobs one after the other, each twice in a row."""
    store = BlobStore.open(root, max_bytes)
    for seed in [seed for seed in seeds for _ in range(2)]:
        blob_hash = store.add(make_large(size_bytes, seed))
        store.pin(blob_hash, RoundIndex(seed))
        store.unpin(blob_hash, RoundIndex(seed))
        say(f"added {blob_hash.hex()}")


def fetch_slowly(root: Path, max_bytes: int, sealed: SealedBlob) -> None:
    """Fetch a blob chunk by chunk; end when it is complete, or say that another does it."""
    store = BlobStore.open(root, max_bytes)
    try:
        partial = store.receive(sealed.manifest)
    except Unavailable:
        say("busy")
        return
    if partial is None:
        say("here")
        return
    with partial:
        say(f"missing {len(partial.missing())}")
        for index, chunk in enumerate(split_chunks(sealed.pieces)):
            if index in partial.missing():
                partial.write_chunk(index, chunk)
                say(f"wrote {index}")
        store.publish(partial)
        say("published")


def fork_while_fetching(root: Path, max_bytes: int, sealed: SealedBlob) -> None:
    """Let a child inherit the lock's descriptor, close the blob here, and open it again."""
    store = BlobStore.open(root, max_bytes)
    with must_receive(store, sealed):
        child = os.fork()
        if not child:
            signal.pause()
    try:
        with must_receive(store, sealed):
            say("again")
    except Unavailable:
        say("busy")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def must_receive(store: BlobStore, sealed: SealedBlob) -> PartialBlob:
    partial = store.receive(sealed.manifest)
    if partial is None:
        raise SystemExit("the blob is here already")
    return partial


def fill_disk(root: Path, max_bytes: int, limit_bytes: int) -> None:
    """Add blobs until something refuses; with a limit on every file's size if one is given."""
    store = BlobStore.open(root, max_bytes)
    if limit_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    try:
        for seed in range(1000):
            size_bytes = 200_000 * (1 + seed)
            say(f"added {store.add(make_large(size_bytes, seed)).hex()}")
    except StorageError as error:
        say(f"refused {error}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(command: str, root: str, *numbers: str) -> None:
    path, (max_bytes, *rest) = Path(root), [int(number) for number in numbers]
    if command == "add":
        add_many(path, max_bytes, range(rest[0], rest[1]), rest[2])
    elif command == "fetch":
        fetch_slowly(path, max_bytes, make_large(rest[0], rest[1]))
    elif command == "fork":
        fork_while_fetching(path, max_bytes, make_large(rest[0]))
    elif command == "fill":
        fill_disk(path, max_bytes, rest[0])
    else:
        raise SystemExit(f"no command {command}")


if __name__ == "__main__":
    main(*sys.argv[1:])

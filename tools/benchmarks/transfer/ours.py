"""Ours: from store to store, pinned mutual TLS, every chunk hashed, the blob synced to the disk."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from psyche_p2p.blobs import BlobStore, Origin, SealedBlob, seal_dense
from psyche_p2p.certificate import TlsCertificate, make_certificate
from psyche_p2p.clock import SystemClock
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.identity import Identity
from psyche_p2p.ids import (
    BlobHash,
    BlockHash,
    EpochIndex,
    Height,
    RoundIndex,
    RunId,
    SchemaHash,
    Tier,
    View,
)
from psyche_p2p.net.allocator import keep_freed_memory
from psyche_p2p.net.bulk_client import BulkClient, Contact, Patience
from psyche_p2p.net.bulk_server import BulkServer, ServerLimits
from psyche_p2p.net.callers import MemberGate
from psyche_p2p.net.handlers import CallWrapper
from psyche_p2p.net.limits import CallLimits, Turnstile
from psyche_p2p.net.services import member_service
from psyche_p2p.net.shelf import Shelf
from psyche_p2p.net.statements import Frontier, StatementPool
from psyche_p2p.net.swarm import Swarm, SwarmLimits
from psyche_p2p.net.tls import (
    MemberTrust,
    PinnedCertificate,
    member_server_credentials,
    pin_certificate,
)
from psyche_p2p.wire import BlobKind, DecidedBlock

_DAY_S = 86_400
_MAX_BYTES = 1 << 32


def identity_of(name: str) -> Identity:
    """An identity that any process can make again from its name."""
    return Identity.from_seed(hash_bytes(name.encode()))


def make_peer(name: str) -> tuple[TlsCertificate, PinnedCertificate]:
    """A peer that any process can make again from its name."""
    identity = identity_of(name)
    today = int(time.time()) // _DAY_S * _DAY_S
    tls = make_certificate(identity, today - _DAY_S, today + 2 * _DAY_S)
    return tls, pin_certificate(identity.peer_id, tls.certificate_der, tls.signature)


class _NoLog:
    """The benchmark fetches no blocks."""

    def blocks(self, first: Height, count: int) -> Sequence[DecidedBlock]:
        del first, count
        return ()


@asynccontextmanager
async def serve_blob(
    name: str, folder: Path, sealed: SealedBlob
) -> AsyncIterator[tuple[str, BlobHash]]:
    """A member's server with this blob in its store."""
    tls, _ = make_peer(name)
    trust = MemberTrust(SystemClock())
    trust.replace([make_peer("client")[1]])
    store = BlobStore.open(folder / name, _MAX_BYTES)
    blob_hash = store.add(sealed)
    wrapper = CallWrapper(MemberGate(trust), Turnstile(CallLimits()), SystemClock())
    nothing = Frontier(Height(0), BlockHash(bytes(32)), View(0), ())
    pool = StatementPool(RunId(bytes(32)), lambda _: False, nothing, lambda _: None)
    service = member_service(wrapper, Shelf(store), _NoLog(), pool)
    async with BulkServer(
        ("127.0.0.1:0",),
        lambda: member_server_credentials(tls, trust),
        service,
        ServerLimits(),
    ) as server:
        yield f"127.0.0.1:{server.ports[0]}", blob_hash


@asynccontextmanager
async def fetching(
    folder: Path, holders: Sequence[tuple[str, str]], blob_hash: BlobHash
) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """A client's store and swarm, and the function that fetches the blob from these holders."""
    contacts = [Contact(make_peer(name)[1], address) for name, address in holders]
    store = BlobStore.open(folder / "client", _MAX_BYTES)
    shelf = Shelf(store)

    async def find_sources() -> Sequence[Contact]:
        return contacts

    async def forget() -> None:
        store.remove(blob_hash)

    async with BulkClient(make_peer("client")[0], Patience()) as client:
        swarm = Swarm(store, shelf, client, SystemClock(), SwarmLimits(_MAX_BYTES))

        async def fetch() -> Callable[[], Awaitable[None]]:
            await swarm.fetch(blob_hash, find_sources)
            return forget

        yield fetch


def seal_bytes(blob: bytes) -> SealedBlob:
    """These bytes as a blob of a valid kind."""
    origin = Origin(
        run_id=RunId(bytes(32)),
        epoch=EpochIndex(0),
        round=RoundIndex(0),
        tier=Tier(0),
        schema_hash=SchemaHash(bytes(32)),
        batch=None,
        producer=None,
    )
    return seal_dense(BlobKind.CHECKPOINT_SHARD, origin, {"blob": np.frombuffer(blob, np.uint8)})


@asynccontextmanager
async def serve(folder: Path, blob: bytes) -> AsyncIterator[Any]:
    keep_freed_memory()
    async with serve_blob("server", folder, seal_bytes(blob)) as address:
        yield address


@asynccontextmanager
async def connect(folder: Path, address: Any) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    keep_freed_memory()
    where, blob_hash = address
    async with fetching(folder, [("server", where)], blob_hash) as fetch:
        yield fetch

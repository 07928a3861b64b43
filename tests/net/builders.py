"""Peers on loopback: identities, certificates, stores, and the bulk servers of a few members."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from psyche_p2p.blobs import BlobStore, SealedBlob
from psyche_p2p.certificate import TlsCertificate, make_certificate
from psyche_p2p.clock import SystemClock
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BlobHash, BlockHash, Height, PeerId, RunId, View
from psyche_p2p.net.bulk_client import BulkClient, Contact, Patience
from psyche_p2p.net.bulk_server import BulkServer, ServerLimits
from psyche_p2p.net.callers import AddressGate, MemberGate
from psyche_p2p.net.handlers import CallWrapper
from psyche_p2p.net.limits import CallLimits, Turnstile
from psyche_p2p.net.services import (
    Described,
    Log,
    Statements,
    joiner_service,
    member_service,
)
from psyche_p2p.net.shelf import Shelf
from psyche_p2p.net.tls import (
    MemberTrust,
    PinnedCertificate,
    joiner_server_credentials,
    member_server_credentials,
    pin_certificate,
)
from psyche_p2p.net.traffic import TrafficMeter
from psyche_p2p.wire import AntiEntropyDigest, DecidedBlock
from psyche_p2p.wire.bulk import PullRequest
from tests.blobs.builders import make_large

CHUNK = 1 << 20
MakeService = Callable[[CallWrapper, Shelf], grpc.GenericRpcHandler]
RUN = RunId(hash_bytes(b"run"))
DAY_S = 86_400
PATIENT = Patience(answer_s=20.0, stall_s=20.0)
NO_DIGEST = AntiEntropyDigest(Height(0), BlockHash(bytes(32)), View(0), BlobHash(bytes(32)), ())


@dataclass(frozen=True)
class Person:
    """An identity with its certificate."""

    identity: Identity
    tls: TlsCertificate
    pinned: PinnedCertificate

    @property
    def peer(self) -> PeerId:
        return self.identity.peer_id


def make_person(name: str, valid_s: tuple[int, int] | None = None) -> Person:
    """Someone with a certificate that is valid now, or for the given span of Unix time."""
    now = int(time.time())
    identity = Identity.from_seed(hash_bytes(name.encode()))
    span = valid_s or (now - DAY_S, now + DAY_S)
    tls = make_certificate(identity, *span)
    pinned = pin_certificate(identity.peer_id, tls.certificate_der, tls.signature)
    return Person(identity, tls, pinned)


class NoStatements:
    """Statements of a peer that has none."""

    def digest(self) -> AntiEntropyDigest:
        return NO_DIGEST

    def lacking(self, theirs: PullRequest) -> Sequence[bytes]:
        return ()

    def wanted(self, theirs: PullRequest) -> PullRequest:
        return PullRequest(())

    def accept(self, envelope: bytes) -> bool:
        return True


class NoLog:
    """A log without blocks."""

    def blocks(self, first: Height, count: int) -> Sequence[DecidedBlock]:
        return ()


@dataclass
class Host:
    """One member's server and what it serves."""

    person: Person
    store: BlobStore
    shelf: Shelf
    trust: MemberTrust
    server: BulkServer

    async def trust_only(self, *people: Person) -> None:
        """The members change."""
        self.trust.replace(person.pinned for person in people)
        await self.server.renew()

    def contact(self, port: int | None = None) -> Contact:
        return Contact(self.person.pinned, f"127.0.0.1:{port or self.server.ports[0]}")


def open_store(folder: Path, max_bytes: int = 1 << 30) -> BlobStore:
    folder.mkdir(parents=True, exist_ok=True)
    return BlobStore.open(folder, max_bytes)


def make_blob(chunks: int, seed: int = 0) -> SealedBlob:
    """A blob of this many chunks, the last of them short."""
    return make_large((chunks - 1) * CHUNK + 1000, seed)


def random_bytes(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@asynccontextmanager
async def serve_members(
    person: Person,
    folder: Path,
    members: Iterable[Person],
    *,
    limits: CallLimits | None = None,
    server_limits: ServerLimits | None = None,
    statements: Statements | None = None,
    log: Log | None = None,
    described: Described | None = None,
    make_service: MakeService | None = None,
    meter: TrafficMeter | None = None,
) -> AsyncIterator[Host]:
    """A member's server that trusts these members."""
    store = open_store(folder)
    trust = MemberTrust(SystemClock())
    trust.replace(member.pinned for member in members)
    shelf = Shelf(store)
    turnstile = Turnstile(limits or CallLimits())
    wrapper = CallWrapper(MemberGate(trust), turnstile, SystemClock(), meter)
    if make_service is not None:
        service = make_service(wrapper, shelf)
    else:
        service = member_service(
            wrapper, shelf, log or NoLog(), statements or NoStatements(), described
        )
    async with BulkServer(
        ("127.0.0.1:0",),
        lambda: member_server_credentials(person.tls, trust),
        service,
        server_limits or ServerLimits(),
    ) as server:
        yield Host(person, store, shelf, trust, server)


@asynccontextmanager
async def serve_joiners(
    host: Host,
    public: Iterable[BlobHash] | Callable[[BlobHash], bool],
    *,
    addresses: tuple[str, ...] = ("127.0.0.1:0",),
    log: Log | None = None,
    described: Described | None = None,
    limits: CallLimits | None = None,
    server_limits: ServerLimits | None = None,
) -> AsyncIterator[BulkServer]:
    """The same peer's service for joiners."""
    wrapper = CallWrapper(AddressGate(), Turnstile(limits or CallLimits()), SystemClock())
    is_public = public if callable(public) else set(public).__contains__
    service = joiner_service(wrapper, host.shelf, log or NoLog(), is_public, described)
    async with BulkServer(
        addresses,
        lambda: joiner_server_credentials(host.person.tls),
        service,
        server_limits or ServerLimits(),
    ) as server:
        yield server


def member_client(person: Person, patience: Patience = PATIENT) -> BulkClient:
    return BulkClient(person.tls, patience)


def joiner_client(patience: Patience = PATIENT) -> BulkClient:
    return BulkClient(None, patience)

"""What donors and newcomer share: the run, its first parameters, and a peer's parts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.transfer.ours import identity_of, make_peer, seal_bytes
from psyche_p2p.blobs import CHUNK_BYTES, BlobStore, SealedBlob
from psyche_p2p.clock import SystemClock
from psyche_p2p.config import RunConfig, decode_run_config
from psyche_p2p.coordinator import State, decode_state
from psyche_p2p.ids import BlobHash, RoundIndex, RunId, Tier
from psyche_p2p.net.parameter_offers import ParameterOffers
from psyche_p2p.net.relay.client import RelayUser
from psyche_p2p.net.statements import StatementPool
from psyche_p2p.net.tls import MemberTrust
from psyche_p2p.net.traffic import TrafficMeter
from psyche_p2p.node.bulk_plane import BulkPlane, Told
from psyche_p2p.node.options import Listen
from psyche_p2p.node.participation import NO_FRONTIER
from psyche_p2p.wire.bulk import ParameterOffer

STORE_BYTES = 1 << 34
NEWCOMER, FOLLOWER = "newcomer", "follower"
UPDATE_CHUNKS = 2
NO_RUN = RunId(bytes(32))


def make_update() -> SealedBlob:
    """What a round's update is to the line: some bytes that do not compress."""
    size = UPDATE_CHUNKS * CHUNK_BYTES - (64 << 10)  # with its header, still as many chunks
    return seal_bytes(np.random.default_rng(0).bytes(size))


class World:
    """The files that `benchmarks.joins.snapshot` left in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def store(self) -> Path:
        return self._folder / "store"

    def config(self) -> RunConfig:
        return decode_run_config((self._folder / "config").read_bytes(), "the benchmark's run")

    def state(self) -> State:
        """The run's state before its first block: its log vouches for the first parameters."""
        return decode_state((self._folder / "state").read_bytes(), self.config())

    def offer(self) -> ParameterOffer:
        told = self.told()
        blob_hash = BlobHash(bytes.fromhex(told["blob"]))
        return ParameterOffer(Tier(0), RoundIndex(0), blob_hash, int(told["size_bytes"]))

    def told(self) -> dict[str, str]:
        """What the trainer said of the snapshot it made."""
        told: dict[str, str] = json.loads((self._folder / "snapshot.json").read_text())
        return told


class Station:
    """A peer's store and its bulk plane, as the node puts them together."""

    def __init__(
        self,
        config: RunConfig,
        name: str,
        host: str,
        folder: Path,
        others: Iterable[str],
        parameters_bytes_per_s: float = math.inf,
    ) -> None:
        clock = SystemClock()
        self.store = BlobStore.open(folder, STORE_BYTES)
        self.offers = ParameterOffers(clock)
        self.meter = TrafficMeter()
        trust = MemberTrust(clock)
        trust.replace(make_peer(other)[1] for other in others)
        self.bulk = BulkPlane(
            Listen(host, 0),
            RelayUser(identity_of(name), NO_RUN),
            make_peer(name)[0],
            trust,
            self.store,
            Told(config, self.offers),
            self.offers,
            StatementPool(NO_RUN, lambda _: False, NO_FRONTIER, lambda _: None),
            config.network.max_blob_bytes,
            clock,
            self.meter,
            parameters_bytes_per_s,
        )

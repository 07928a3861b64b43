"""Which parameters this peer has stored as blobs: where a restart begins, and what others fetch.

The newest of its own tier are remembered on disk and pinned in the store together with every update
since, so that a peer that is killed replays what came after instead of asking others for the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from psyche_p2p.blobs import BlobStore, read_dense, read_layout, validate_blob
from psyche_p2p.config import RunConfig
from psyche_p2p.files import write_atomically
from psyche_p2p.ids import BlobHash, ParamRoot, RoundIndex, Tier
from psyche_p2p.log import get_logger
from psyche_p2p.model.param_root import param_root
from psyche_p2p.net.parameter_offers import ParameterOffers
from psyche_p2p.train.messages import Snapshotted
from psyche_p2p.train.parameter_format import expect_parameters
from psyche_p2p.wire.bulk import ParameterOffer

_KEPT = 2
_log = get_logger(__name__)


class Snapshots:
    """This peer's own, newest first, and what it offers of them and of smaller tiers."""

    def __init__(self, path: Path, store: BlobStore, tier: Tier, offers: ParameterOffers) -> None:
        self._path = path
        self._store = store
        self._tier = tier
        self._offers = offers
        self._own = [one for one in _read(path, tier) if store.has(one.blob_hash)]
        for one in self._own:
            offers.offer(one)

    @property
    def own(self) -> tuple[ParameterOffer, ...]:
        return tuple(self._own)

    @property
    def oldest_round(self) -> RoundIndex | None:
        """Updates before this round are of no more use to us."""
        return self._own[-1].param_round if self._own else None

    def has(self, param_round: RoundIndex, tier: Tier) -> bool:
        return any(
            (one.param_round, one.tier) == (param_round, tier) for one in self._offers.current()
        )

    def add(self, made: Snapshotted) -> None:
        """Offer a new snapshot; of our own tier also begin the next restart with it."""
        offer = ParameterOffer(
            Tier(made.tier),
            RoundIndex(made.param_round),
            BlobHash(bytes.fromhex(made.blob)),
            made.size_bytes,
        )
        self._store.pin(offer.blob_hash, offer.param_round)
        for replaced in self._offers.offer(offer):
            self._store.unpin(replaced.blob_hash, replaced.param_round)
        if offer.tier == self._tier:
            self._own = [offer, *(one for one in self._own if one != offer)][:_KEPT]
            _write(self._path, self._own)

    def forget(self, offer: ParameterOffer) -> None:
        """It turned out to be no good."""
        self._own = [one for one in self._own if one != offer]
        self._offers.withdraw(offer.blob_hash)
        self._store.remove(offer.blob_hash)
        _write(self._path, self._own)


def find_parameters_fault(
    store: BlobStore,
    config: RunConfig,
    offer: ParameterOffer,
    agreed: Mapping[RoundIndex, tuple[ParamRoot, ...]],
) -> str | None:
    """Why a blob is not the parameters that the log names; None if it is.

    Its shape is checked first: a stranger made it, and hashing what fits no model would fail. So
    is the round it says it is of, because the trainer goes on from there.
    """
    roots = agreed.get(offer.param_round)
    if roots is None:
        return f"the log names no parameters of round {offer.param_round}"
    data = store.read(offer.blob_hash)
    reasons = validate_blob(
        data, expect_parameters(config, offer.tier, offer.param_round, offer.size_bytes)
    )
    if reasons:
        return str(reasons[0])
    found = param_root(config.model, read_dense(read_layout(data)), offer.tier)
    expected = roots[config.model.max_tier - offer.tier]
    if found != expected:
        return f"param root {found.hex()[:16]}, the log says {expected.hex()[:16]}"
    return None


def _read(path: Path, tier: Tier) -> list[ParameterOffer]:
    try:
        entries = json.loads(path.read_text())
        offers = [
            ParameterOffer(
                Tier(one["tier"]),
                RoundIndex(one["param_round"]),
                BlobHash(bytes.fromhex(one["blob"])),
                int(one["size_bytes"]),
            )
            for one in entries
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("the list of snapshots is damaged: parameters are fetched", cause=str(error))
        return []
    return [one for one in offers if one.tier == tier]


def _write(path: Path, offers: list[ParameterOffer]) -> None:
    entries = [
        {
            "tier": one.tier,
            "param_round": one.param_round,
            "blob": one.blob_hash.hex(),
            "size_bytes": one.size_bytes,
        }
        for one in offers
    ]
    write_atomically(path, json.dumps(entries).encode())

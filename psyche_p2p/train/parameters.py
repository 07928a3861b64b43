"""A trainer's parameters as a blob, at its own tier or a smaller one, and back again."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from psyche_p2p.blobs import (
    Origin,
    SealedBlob,
    read_dense,
    read_layout,
    seal_dense,
    validate_blob,
)
from psyche_p2p.errors import ModelError
from psyche_p2p.ids import BlobHash, RoundIndex, Tier, short_id
from psyche_p2p.model.tiers import slice_state, tier_width
from psyche_p2p.train.parameter_format import ANY_EPOCH, expect_parameters
from psyche_p2p.train.workshop import Workshop
from psyche_p2p.wire import BlobKind


def seal_parameters(shop: Workshop, param_round: RoundIndex, tier: Tier) -> SealedBlob:
    """The agreed parameters, cut to a tier; nothing in the blob says whose they were."""
    if tier < shop.tier:
        raise ModelError(f"a trainer at tier {shop.tier} has no parameters of tier {tier}")
    masters = {name: master.detach().cpu() for name, master in shop.optimizer.masters.items()}
    cut = slice_state(masters, tier_width(shop.config.model, tier)) if tier > shop.tier else masters
    origin = Origin(shop.run_id, ANY_EPOCH, param_round, tier, shop.schema_hash)
    arrays: dict[str, NDArray[np.generic]] = {name: one.numpy() for name, one in cut.items()}
    return seal_dense(BlobKind.PARAMETERS, origin, arrays)


@torch.no_grad()
def take_parameters(shop: Workshop, blob: BlobHash) -> int:
    """Overwrite the agreed parameters with a blob's; how many rounds those have had.

    ModelError if it does not hold exactly this trainer's tensors; nothing is changed then.
    """
    data = shop.store.read(blob)
    masters = shop.optimizer.masters
    expected = expect_parameters(shop.config, shop.tier, None, len(data))
    reasons = validate_blob(data, expected)
    if reasons:
        raise ModelError(f"blob {short_id(blob)} is not this peer's parameters: {reasons[0]}")
    view = read_layout(data)
    for name, array in read_dense(view).items():
        masters[name].copy_(torch.from_numpy(array.copy()))
    for name, parameter in shop.model.named_parameters():
        parameter.copy_(masters[name])
    shop.tree.update(masters)
    return view.header.round

"""Golden vectors that an implementation in another language could check itself against.

    python -m tests.vectors.generate      # only when the protocol itself changes

Each value follows from the inputs beside it by docs/protocol.md alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from psyche_p2p import wire
from psyche_p2p.certificate import FINGERPRINT_CONTEXT, make_certificate
from psyche_p2p.config import canonical_bytes, load_run_config, run_id
from psyche_p2p.hashing import hash_bytes, hash_parts
from psyche_p2p.identity import Identity
from psyche_p2p.ids import (
    BatchInterval,
    BlobHash,
    BlockHash,
    EpochIndex,
    Height,
    ParamRoot,
    RoundIndex,
    RunId,
    Tier,
    View,
)
from psyche_p2p.keyfile import encode_key
from psyche_p2p.wire import bulk

FILE = Path(__file__).parent / "vectors.json"
CONFIGS = Path(__file__).parents[2] / "configs"
RUN = RunId(b"\x11" * 32)


def vectors() -> dict[str, Any]:
    """Every vector, computed by this implementation."""
    identities = [Identity.from_seed(bytes([number]) * 32) for number in range(3)]
    return {
        "ids": [_identity(identity) for identity in identities],
        "hashes": _hashes(),
        "envelopes": [_envelope(identities[0], message) for message in _messages()],
        "certificates": [_certificate(identity) for identity in identities],
        "descriptions": _descriptions(identities[0]),
        "run_ids": {path.stem: _run(path) for path in sorted(CONFIGS.glob("*.toml"))},
    }


def _identity(identity: Identity) -> dict[str, str]:
    return {
        "seed": identity.seed.hex(),
        "public_key": identity.public_key.hex(),
        "peer_id": identity.peer_id,
        "key_file": encode_key(identity).hex(),
        "signature_of_abc_in_context_test": identity.sign("test", b"abc").hex(),
        "tls_key_secret": identity.derive_secret("tls-key", 40).hex(),
    }


def _hashes() -> dict[str, str]:
    return {
        "blake3_of_abc": hash_bytes(b"abc").hex(),
        "parts_abc_empty_de_in_context_test": hash_parts("test", b"abc", b"", b"de").hex(),
    }


def _messages() -> list[Any]:
    block_hash = BlockHash(b"\x22" * 32)
    return [
        wire.Commitment(
            epoch=EpochIndex(1),
            round=RoundIndex(300),
            batch=BatchInterval(4096, 4100),
            blob_hash=BlobHash(b"\x33" * 32),
            size_bytes=65_051,
            payload_hash=BlobHash(b"\x44" * 32),
            tokens_per_s=1_700,
        ),
        wire.Attestation(
            epoch=EpochIndex(1),
            round=RoundIndex(300),
            blobs=(),
            param_round=RoundIndex(299),
            param_roots=(ParamRoot(b"\x55" * 32), ParamRoot(b"\x66" * 32)),
        ),
        wire.Vote(Height(9), View(0), wire.VoteStep.PRECOMMIT, block_hash),
        wire.Vote(Height(9), View(1), wire.VoteStep.PREVOTE, None),
        wire.Withdraw(EpochIndex(2), "going home", 1_700_000_000_000),
        wire.Refusal(
            epoch=EpochIndex(1),
            round=RoundIndex(300),
            batch=BatchInterval(4096, 4100),
            teacher=Identity.from_seed(b"\x02" * 32).peer_id,
            blob_hash=BlobHash(b"\x33" * 32),
        ),
    ]


def _envelope(identity: Identity, message: Any) -> dict[str, Any]:
    sealed = wire.seal(message, RUN, identity)
    opened = wire.open_envelope(sealed, RUN)
    return {
        "seed": identity.seed.hex(),
        "run_id": RUN.hex(),
        "kind": opened.kind.name,
        "body": wire.encode(message).hex(),
        "envelope": sealed.hex(),
        "id": opened.id.hex(),
    }


def _certificate(identity: Identity) -> dict[str, Any]:
    from_s, until_s = 1_767_225_600, 1_798_761_600
    made = make_certificate(identity, from_s, until_s)
    return {
        "seed": identity.seed.hex(),
        "not_before": from_s,
        "not_after": until_s,
        "der": made.certificate_der.hex(),
        "fingerprint": made.fingerprint.hex(),
        "context": FINGERPRINT_CONTEXT,
        "signature": made.signature.hex(),
    }


def _descriptions(identity: Identity) -> dict[str, Any]:
    """Of a run that has not begun, and of one with a genesis and two offers."""
    config = canonical_bytes(load_run_config(CONFIGS / "nano.toml"))
    signature = identity.sign("envelope", b"not over this genesis")
    signatures = (wire.VoteSignature(identity.peer_id, signature),)
    founding = wire.Certificate(Height(0), View(0), BlockHash(b"\x22" * 32), signatures)
    offers = tuple(
        bulk.ParameterOffer(Tier(tier), RoundIndex(300), BlobHash(bytes([tier]) * 32), 4096)
        for tier in (0, 2)
    )
    begun = bulk.RunDescription(config, b"genesis", wire.encode(founding), Height(9), offers)
    return {
        "ask": wire.encode(bulk.DescribeRequest(RUN, None)).hex(),
        "ask_for_tier_0": wire.encode(bulk.DescribeRequest(RUN, Tier(0))).hex(),
        "not_begun": wire.encode(bulk.RunDescription(config, None, None, Height(0), ())).hex(),
        "founding": wire.encode(founding).hex(),
        "begun_genesis_is_ascii_genesis": wire.encode(begun).hex(),
    }


def _run(path: Path) -> dict[str, str]:
    config = load_run_config(path)
    return {"canonical": canonical_bytes(config).decode(), "run_id": run_id(config).hex()}


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1) + "\n")

"""Hypothesis strategies for identities, ids and every message of the wire."""

from __future__ import annotations

from dataclasses import fields
from enum import IntEnum
from types import UnionType
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from psyche_p2p import ids, wire
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BatchInterval, PeerId
from psyche_p2p.wire import bulk, reachability, relay

hashes = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=64, max_size=64)
small = st.integers(0, 2**32 - 1)
large = st.integers(0, 2**63 - 1)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
identities = st.integers(0, 15).map(lambda number: Identity.from_seed(bytes([number]) * 32))
peers: st.SearchStrategy[PeerId] = identities.map(lambda identity: identity.peer_id)
batches = st.builds(
    lambda start, size: BatchInterval(start, start + size),
    st.integers(0, 2**62),
    st.integers(1, 2**20),
)


def tuples_of(strategy: st.SearchStrategy[Any], max_size: int = 4) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=max_size).map(tuple)


blocks = st.builds(
    wire.Block,
    height=large,
    prev_hash=hashes,
    view=large,
    proposer=peers,
    time_ms=large,
    seed=hashes,
    seed_signature=signatures,
    commands=tuples_of(st.binary(max_size=100)),
    state_root=hashes,
)
votes = st.builds(
    wire.Vote,
    height=large,
    view=large,
    step=st.sampled_from(wire.VoteStep),
    block_hash=st.none() | hashes,
)
certificates = st.builds(
    wire.Certificate,
    height=large,
    view=large,
    block_hash=hashes,
    signatures=tuples_of(st.builds(wire.VoteSignature, voter=peers, signature=signatures)),
)
commitments = st.builds(
    wire.Commitment,
    epoch=large,
    round=large,
    batch=batches,
    blob_hash=hashes,
    size_bytes=large,
    payload_hash=hashes,
    tokens_per_s=large,
)
joins = st.builds(
    wire.Join,
    roles=tuples_of(st.sampled_from(wire.Role), 2),
    tier=small,
    capabilities=st.builds(wire.Capabilities, tokens_per_s=large, memory_bytes=large, device=texts),
    addresses=tuples_of(texts),
    tls_fingerprint=hashes,
    schema_hash=hashes,
    nonce=large,
)
ENVELOPED: dict[type[Any], st.SearchStrategy[Any]] = {
    wire.Commitment: commitments,
    wire.Vote: votes,
    wire.Join: joins,
    wire.Withdraw: st.builds(wire.Withdraw, epoch=large, reason=texts, nonce=large),
    wire.Proposal: st.builds(
        wire.Proposal, height=large, view=large, valid_view=st.none() | large, block=blocks
    ),
    wire.Attestation: st.builds(
        wire.Attestation,
        epoch=large,
        round=large,
        blobs=tuples_of(
            st.builds(wire.AttestedBlob, batch=batches, trainer=peers, blob_hash=hashes)
        ),
        param_round=large,
        param_roots=tuples_of(hashes, ids.MAX_TIER + 1),
    ),
    wire.Verdict: st.builds(
        wire.Verdict,
        epoch=large,
        round=large,
        batch=batches,
        trainer=peers,
        blob_hash=hashes,
        agreement_ppm=small,
        accepted=st.booleans(),
    ),
    wire.Refusal: st.builds(
        wire.Refusal, epoch=large, round=large, batch=batches, teacher=peers, blob_hash=hashes
    ),
    wire.Status: st.builds(
        wire.Status,
        height=large,
        state_root=hashes,
        phase=st.sampled_from(wire.Phase),
        epoch=large,
        round=large,
        param_round=large,
        param_root=hashes,
        warm=st.booleans(),
        software=texts,
    ),
    wire.AntiEntropyDigest: st.builds(
        wire.AntiEntropyDigest,
        height=large,
        block_hash=hashes,
        view=large,
        votes=hashes,
        rounds=tuples_of(
            st.builds(
                wire.RoundDigest,
                epoch=large,
                round=large,
                commitments=hashes,
                attestations=hashes,
                verdicts=hashes,
            )
        ),
    ),
}
STANDALONE: dict[type[Any], st.SearchStrategy[Any]] = {
    wire.PeerRecord: st.builds(
        wire.PeerRecord,
        instance=large,
        roles=tuples_of(st.sampled_from(wire.Role), 2),
        tier=small,
        addresses=tuples_of(texts),
        bulk_addresses=tuples_of(texts),
        certificate=st.binary(max_size=600),
        certificate_signature=signatures,
        joiner_addresses=tuples_of(texts),
    ),
    wire.RelayListing: st.builds(wire.RelayListing, address=texts),
    wire.RunListing: st.builds(wire.RunListing, run_id=hashes, name=texts),
    bulk.BlobRequest: st.builds(bulk.BlobRequest, blob_hash=hashes),
    bulk.HaveRequest: st.builds(bulk.HaveRequest, blob_hashes=tuples_of(hashes)),
    bulk.HaveReply: st.builds(
        bulk.HaveReply,
        holdings=tuples_of(
            st.builds(bulk.Holding, chunk_count=small, chunks=st.binary(max_size=20))
        ),
    ),
    bulk.ChunkRequest: st.builds(
        bulk.ChunkRequest,
        blob_hash=hashes,
        ranges=tuples_of(st.builds(bulk.ChunkRange, first=small, count=small)),
    ),
    bulk.LogRequest: st.builds(bulk.LogRequest, first_height=large, count=small),
    bulk.PullRequest: st.builds(
        bulk.PullRequest,
        sets=tuples_of(
            st.builds(
                bulk.StatementSet,
                topic=st.sampled_from(bulk.Topic),
                epoch=large,
                index=large,
                ids=tuples_of(hashes),
            )
        ),
    ),
    bulk.PushReply: st.builds(bulk.PushReply, accepted=small, ignored=small),
    wire.Block: blocks,
    wire.Certificate: certificates,
    wire.DecidedBlock: st.builds(wire.DecidedBlock, block=blocks, certificate=certificates),
    wire.ChunkManifest: st.builds(wire.ChunkManifest, size_bytes=large, chunks=tuples_of(hashes)),
    wire.BlobHeader: st.builds(
        wire.BlobHeader,
        version=small,
        kind=st.sampled_from(wire.BlobKind),
        run_id=hashes,
        epoch=large,
        round=large,
        batch=st.none() | batches,
        producer=st.none() | peers,
        tier=small,
        schema_hash=hashes,
        codec=st.none()
        | st.builds(wire.CodecParameters, name=texts, payload=texts, chunk_size=small, top_k=small),
        tensors=tuples_of(
            st.builds(
                wire.TensorEntry,
                name=texts,
                shape=tuples_of(large),
                dtype=texts,
                chunk_rows=small,
                chunk_columns=small,
            )
        ),
        sections=tuples_of(st.builds(wire.Section, name=texts, size_bytes=large)),
        tokens=large,
        loss=st.floats(allow_nan=False, allow_infinity=False),
        payload_hash=hashes,
    ),
    relay.RelayHello: st.builds(relay.RelayHello, relay=peers, challenge=hashes),
    relay.RelayTicket: st.builds(
        relay.RelayTicket,
        run_id=hashes,
        peer=peers,
        relay=peers,
        challenge=hashes,
        purpose=st.sampled_from(relay.RelayPurpose),
        target=st.none() | peers,
        call=st.none() | hashes,
        life_s=small,
        service=st.none() | st.sampled_from(relay.RelayService),
    ),
    relay.SignedRelayTicket: st.builds(
        relay.SignedRelayTicket, ticket=st.binary(max_size=300), signature=signatures
    ),
    relay.RelayAnswer: st.builds(relay.RelayAnswer, code=st.sampled_from(relay.RelayCode)),
    relay.RelayCall: st.builds(
        relay.RelayCall,
        call=hashes,
        caller=peers,
        service=st.sampled_from(relay.RelayService),
    ),
    reachability.DialBackRequest: st.builds(
        reachability.DialBackRequest, tls_fingerprint=hashes, ports=tuples_of(small)
    ),
    reachability.DialBackReport: st.builds(
        reachability.DialBackReport,
        observed_host=texts,
        outcomes=tuples_of(
            st.builds(
                reachability.PortOutcome,
                port=small,
                outcome=st.sampled_from(reachability.DialOutcome),
            )
        ),
    ),
}


def from_hints(message_type: type[Any]) -> st.SearchStrategy[Any]:
    """A message whose every field is what its type allows, whatever the message means."""
    hints = get_type_hints(message_type)
    return st.builds(
        message_type, **{field.name: _of(hints[field.name]) for field in fields(message_type)}
    )


def _of(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _OF_TYPE:
        return _OF_TYPE[hint]
    if get_origin(hint) is tuple:
        return tuples_of(_of(get_args(hint)[0]), 2)
    if get_origin(hint) in (Union, UnionType):
        inner = [_of(item) for item in get_args(hint) if item is not type(None)]
        return st.none() | st.one_of(inner)
    if isinstance(hint, NewType):
        return _of(hint.__supertype__)
    if issubclass(hint, IntEnum):
        return st.sampled_from(hint)
    return from_hints(hint)


_OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    **dict.fromkeys((ids.RunId, ids.BlobHash, ids.BlockHash, ids.StateRoot), hashes),
    **dict.fromkeys((ids.ParamRoot, ids.SchemaHash), hashes),
    ids.Signature: signatures,
    PeerId: peers,
    BatchInterval: batches,
    bool: st.booleans(),
    int: small,
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: texts,
    bytes: st.binary(max_size=40),
}
OTHERS = {
    message_type: from_hints(message_type)
    for message_type in wire.message_types()
    if message_type not in (*ENVELOPED, *STANDALONE)
}
enveloped = st.one_of(list(ENVELOPED.values()))
messages = st.one_of([*ENVELOPED.values(), *STANDALONE.values(), *OTHERS.values()])

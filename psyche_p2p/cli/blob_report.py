"""Everything `inspect-blob` has to say, as plain values that print as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from psyche_p2p.blobs import (
    BlobView,
    Expectation,
    Flaw,
    Reason,
    Update,
    read_layout,
    read_update,
    validate_blob,
)
from psyche_p2p.blobs.compare import compare_updates
from psyche_p2p.blobs.errors import BlobError
from psyche_p2p.blobs.manifest import count_chunks
from psyche_p2p.blobs.summary import (
    summarise_dense,
    summarise_targets,
    summarise_update,
    total_bits,
)
from psyche_p2p.cli.blob_source import BlobSource
from psyche_p2p.codec import Overlap
from psyche_p2p.ids import short_id
from psyche_p2p.wire import BlobHeader, BlobKind

Report = dict[str, Any]

# the tensors that tiers shorten, and along which axis
_SLICED_ROWS = ("gate_proj.weight", "up_proj.weight")
_SLICED_COLUMNS = ("down_proj.weight",)


def validate_source(source: BlobSource, expected: Expectation) -> list[Reason]:
    """Every reason to refuse the blob; one from a store must also have the hash of its name."""
    reasons = validate_blob(source.data, expected)
    if source.wanted_hash is not None and source.compute_hash() != source.wanted_hash:
        cause = f"the file of blob {short_id(source.wanted_hash)} has other content"
        reasons.append(Reason(Flaw.PAYLOAD_HASH, cause))
    return reasons


def describe_blob(source: BlobSource, reasons: list[Reason]) -> Report:
    """One blob: its header as far as it can be read, its tensors if it is valid."""
    report: Report = {
        "source": source.name,
        "hash": source.compute_hash().hex(),
        "size_bytes": len(source.data),
        "chunks": count_chunks(len(source.data)),
        "valid": not reasons,
        "reasons": [{"flaw": reason.flaw.value, "detail": str(reason)} for reason in reasons],
    }
    try:
        view = read_layout(source.data)
    except BlobError:
        return report
    report["header"] = _describe_header(view.header)
    report["sections"] = [asdict(section) for section in view.header.sections]
    return report if reasons else {**report, **_describe_content(view)}


def describe_difference(first: Update, second: Update) -> Report:
    """How alike two updates are: which coefficients both send, and with which signs."""
    overlaps = compare_updates(first, second)
    total = Overlap(
        sum(overlap.common for overlap in overlaps.values()),
        sum(overlap.same_sign for overlap in overlaps.values()),
        sum(overlap.only_first for overlap in overlaps.values()),
        sum(overlap.only_second for overlap in overlaps.values()),
    )
    return {
        "tensors": [
            {"name": name, **_describe_overlap(overlap)} for name, overlap in overlaps.items()
        ],
        "total": _describe_overlap(total),
        "not_compared": sorted(
            {tensor.name for tensor in (*first.grid.tensors, *second.grid.tensors)} - set(overlaps)
        ),
    }


def _describe_header(header: BlobHeader) -> Report:
    batch = header.batch
    return {
        "version": header.version,
        "kind": header.kind.name.lower(),
        "run_id": header.run_id.hex(),
        "epoch": header.epoch,
        "round": header.round,
        "batch": None if batch is None else [batch.start, batch.end],
        "producer": header.producer,
        "tier": header.tier,
        "schema_hash": header.schema_hash.hex(),
        "codec": None if header.codec is None else asdict(header.codec),
        "tokens": header.tokens,
        "loss": header.loss,
        "payload_hash": header.payload_hash.hex(),
        "tensors": len(header.tensors),
    }


def _describe_content(view: BlobView) -> Report:
    if view.header.kind is BlobKind.TEACHER_TARGETS:
        targets = {"targets": asdict(summarise_targets(view))}
        return targets if view.header.codec is not None else {**targets, **_describe_dense(view)}
    if view.header.kind is not BlobKind.UPDATE:
        return _describe_dense(view)
    update = read_update(view)
    summaries = summarise_update(update)
    bits, bound = total_bits(update)
    entries = sum(summary.entries for summary in summaries)
    chunks = sum(summary.chunks for summary in summaries)
    tensors = [
        {
            **asdict(summary),
            "slice": describe_slice(summary.name, summary.shape, view.header.tier),
            "live_share": summary.live_share,
            "bits_per_entry": summary.bits_per_entry,
            "bound_ratio": summary.bound_ratio,
        }
        for summary in summaries
    ]
    totals = {
        "chunks": chunks,
        "live_share": sum(summary.live for summary in summaries) / chunks,
        "entries": entries,
        "bits_per_entry": bits / entries if entries else 0.0,
        "bound_bits_per_entry": bound / entries if entries else 0.0,
        "bound_ratio": bits / bound if bound else 0.0,
        "positive": sum(summary.positive for summary in summaries),
        "negative": sum(summary.negative for summary in summaries),
        "norm": sum(summary.norm**2 for summary in summaries) ** 0.5,
    }
    return {"tensors": tensors, "totals": totals}


def _describe_dense(view: BlobView) -> Report:
    return {"tensors": [asdict(summary) for summary in summarise_dense(view)]}


def describe_slice(name: str, shape: tuple[int, ...], tier: int) -> str:
    """Which part of the full tensor this is, by the names of the layers that tiers shorten."""
    if tier and name.endswith(_SLICED_ROWS):
        return f"rows :{shape[0]} of {shape[0] << tier}"
    if tier and name.endswith(_SLICED_COLUMNS):
        return f"columns :{shape[-1]} of {shape[-1] << tier}"
    return "all"


def _describe_overlap(overlap: Overlap) -> Report:
    union = overlap.common + overlap.only_first + overlap.only_second
    return {
        **asdict(overlap),
        "overlap": overlap.common / union if union else 0.0,
        "sign_agreement": overlap.sign_agreement,
    }


def to_json(report: Report) -> str:
    """The report for scripts."""
    return json.dumps(report, indent=2)

"""Content-addressed blobs: chunk manifests, kinds, validation, and the store on disk."""

from psyche_p2p.blobs.budget import Usage
from psyche_p2p.blobs.dense import read_dense, seal_dense
from psyche_p2p.blobs.errors import BlobError
from psyche_p2p.blobs.kinds import Origin
from psyche_p2p.blobs.layout import BlobView, SealedBlob, read_layout
from psyche_p2p.blobs.manifest import (
    CHUNK_BYTES,
    compute_blob_hash,
    compute_manifest,
    decode_manifest,
)
from psyche_p2p.blobs.partial import PartialBlob
from psyche_p2p.blobs.run_targets import expect_run_targets, seal_run_targets
from psyche_p2p.blobs.scrub import DamagedBlob, ScrubReport, check_blob, scrub_store
from psyche_p2p.blobs.store import BlobStore
from psyche_p2p.blobs.teacher import (
    read_teacher_targets,
    seal_compact_targets,
    seal_teacher_targets,
)
from psyche_p2p.blobs.update import (
    Transform,
    Update,
    grid_entries,
    read_update,
    seal_update,
)
from psyche_p2p.blobs.validate import Expectation, Flaw, Reason, validate_blob

__all__ = [
    "CHUNK_BYTES",
    "compute_manifest",
    "compute_blob_hash",
    "decode_manifest",
    "BlobError",
    "BlobView",
    "SealedBlob",
    "read_layout",
    "Origin",
    "Transform",
    "Update",
    "grid_entries",
    "seal_update",
    "read_update",
    "seal_dense",
    "read_dense",
    "seal_teacher_targets",
    "seal_compact_targets",
    "read_teacher_targets",
    "seal_run_targets",
    "expect_run_targets",
    "Expectation",
    "Flaw",
    "Reason",
    "validate_blob",
    "BlobStore",
    "PartialBlob",
    "Usage",
    "ScrubReport",
    "DamagedBlob",
    "scrub_store",
    "check_blob",
]

"""The chunk grid, sparse updates, a teacher's logits, and their bit streams: to bytes and back."""

from psyche_p2p.codec.coefficients import (
    Coefficients,
    GroupCoefficients,
    Overlap,
    Payload,
    compare_coefficients,
)
from psyche_p2p.codec.entropy import compute_bound_bits
from psyche_p2p.codec.grid import (
    MAX_CHUNK_SIZE,
    ChunkGrid,
    ChunkGroup,
    GroupMember,
    TensorGrid,
    TensorSpec,
    build_grid,
    map_chunks,
)
from psyche_p2p.codec.scales import SCALE_UNIT, quantize_scales, scale_integers
from psyche_p2p.codec.sections import (
    decode_coefficients,
    encode_coefficients,
    max_section_bytes,
    section_names,
)
from psyche_p2p.codec.top_logits import (
    MAX_LOGIT_ERROR,
    TopLogits,
    decode_top_logits,
    encode_top_logits,
    index_bound_bits,
    max_top_logits_bytes,
)

__all__ = [
    "MAX_CHUNK_SIZE",
    "ChunkGrid",
    "ChunkGroup",
    "GroupMember",
    "TensorGrid",
    "TensorSpec",
    "build_grid",
    "map_chunks",
    "Coefficients",
    "GroupCoefficients",
    "Overlap",
    "Payload",
    "compare_coefficients",
    "encode_coefficients",
    "decode_coefficients",
    "max_section_bytes",
    "section_names",
    "compute_bound_bits",
    "SCALE_UNIT",
    "quantize_scales",
    "scale_integers",
    "MAX_LOGIT_ERROR",
    "TopLogits",
    "encode_top_logits",
    "decode_top_logits",
    "max_top_logits_bytes",
    "index_bound_bits",
]

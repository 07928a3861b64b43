"""What a run trains on: the `[data]` section and the parts of a mixture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from psyche_p2p.config.section import Count, FilePattern, MirrorAddress, Name, Section


class DataPlace(Section):
    """Where one corpus comes from. Peers must agree on every byte of it."""

    source: Annotated[str, Field(min_length=1, max_length=64)] = "stdlib"
    """Which built-in text (only `stdlib`, the source of Python's standard library)."""
    files: Annotated[tuple[FilePattern, ...], Field(strict=False, max_length=4096)] = ()
    """For `tokens` and `parquet`: file patterns below the folder each peer gives as --data-dir."""
    mirrors: Annotated[tuple[MirrorAddress, ...], Field(strict=False, max_length=64)] = ()
    """For `http`: addresses of folders that psyche-peer data prepare made, all with one content."""
    manifest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """The BLAKE3 of the data manifest all peers must reproduce; empty: the first member's."""
    token_bytes: Literal[2, 4] = 2
    """For `tokens` and `http`: the width of a token id on disk, little-endian."""


class DataPartConfig(DataPlace):
    """One corpus of a mixture."""

    name: Name
    """What the corpus is called in the manifest, and its folder below --data-dir for `http`."""
    weight: Annotated[int, Field(ge=1, le=1000)]
    """So many of every sum-of-all-weights samples come from here."""
    provider: Literal["builtin", "tokens", "parquet", "http"]
    """As data.provider."""


class DataConfig(DataPlace):
    """What the run trains on."""

    provider: Literal["builtin", "tokens", "parquet", "http", "mixture"] = "builtin"
    """`builtin`: text that every machine has; `tokens`: local files of token ids; `parquet`: local
    files of preprocessed rows; `http`: token files fetched as needed; `mixture`: `parts`."""
    parts: Annotated[tuple[DataPartConfig, ...], Field(strict=False, max_length=64)] = ()
    """For `mixture`: the corpora and how much of each."""
    sequence_length: Annotated[int, Field(ge=2, le=1 << 20)]
    """Tokens in one sample."""
    shuffle_seed: Count = 0
    """The seed of the permutation of samples."""
    heldout_fraction: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] = 0.01
    """The share of samples kept for evaluation, never trained on."""

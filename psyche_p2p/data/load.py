"""From a run's configuration to its samples, whichever provider it names."""

from __future__ import annotations

from pathlib import Path

from psyche_p2p.config import RunConfig
from psyche_p2p.data.manifest import require_manifest
from psyche_p2p.data.samples import TokenSamples, load_builtin_samples
from psyche_p2p.data.token_file import Progress
from psyche_p2p.data.tokens import open_token_files
from psyche_p2p.errors import DataError

BYTE_VALUES = 256


def load_samples(
    config: RunConfig, data_dir: Path | None = None, on_progress: Progress = lambda _: None
) -> TokenSamples:
    """The samples of a run on this machine, all tokens checked, the manifest the run's."""
    if config.data.provider == "tokens":
        return _load_token_samples(config, data_dir, on_progress)
    if config.model.vocab_size < BYTE_VALUES:
        cause = f"the built-in text has {BYTE_VALUES} byte values"
        vocab_size = config.model.vocab_size
        raise DataError(f"{cause}, the model's vocabulary {vocab_size}", "raise model.vocab_size")
    return load_builtin_samples(config.data)


def _load_token_samples(
    config: RunConfig, data_dir: Path | None, on_progress: Progress
) -> TokenSamples:
    if data_dir is None:
        raise DataError("this run trains on token files", "say where they are with --data-dir")
    data = config.data
    manifest, tokens = open_token_files(
        data_dir, data.files, data.token_bytes, config.model.vocab_size, on_progress
    )
    cure = "compare with another peer's: psyche-peer data manifest --compare FILE"
    require_manifest(manifest, data.manifest, cure)
    return TokenSamples(
        manifest, tokens, data.sequence_length, data.shuffle_seed, data.heldout_fraction
    )

"""From a run's configuration to its samples, whichever provider it names."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from psyche_p2p.config import DataConfig, DataPartConfig, RunConfig
from psyche_p2p.data.manifest import require_manifest
from psyche_p2p.data.mirrors import Mirrors
from psyche_p2p.data.mixture import MixedSamples, Part
from psyche_p2p.data.parquet import RowSamples, open_parquet_files
from psyche_p2p.data.remote import open_remote_tokens
from psyche_p2p.data.samples import SampleSource, TokenSamples, load_builtin_samples
from psyche_p2p.data.token_file import Progress
from psyche_p2p.data.tokens import open_token_files
from psyche_p2p.errors import DataError

BYTE_VALUES = 256
_COMPARE = "compare with another peer's: psyche-peer data manifest --compare FILE"


def load_samples(
    config: RunConfig, data_dir: Path | None = None, on_progress: Progress = lambda _: None
) -> SampleSource:
    """The samples of a run on this machine, the manifest the run's.

    All tokens are checked, except those behind `http`, which are when they come.
    """
    return _Loader(config.data, config.model.vocab_size, data_dir, on_progress).load()


@dataclass(frozen=True, slots=True)
class _Loader:
    """What every provider is loaded with."""

    data: DataConfig
    vocab_size: int
    data_dir: Path | None
    on_progress: Progress

    def load(self) -> SampleSource:
        data = self.data
        if data.provider == "mixture":
            parts = [Part(one.name, one.weight, self._load_part(one)) for one in data.parts]
            samples: SampleSource = MixedSamples(parts, data.shuffle_seed)
        else:
            samples = self._load_place(data)
        require_manifest(samples.manifest, data.manifest, _COMPARE)
        return samples

    def _load_part(self, part: DataPartConfig) -> SampleSource:
        """Errors say which part they are about."""
        folder = self.data_dir
        if folder is not None and part.provider == "http":  # what is fetched stays apart
            folder = folder / part.name
        try:
            samples = replace(self, data_dir=folder)._load_place(part)
            require_manifest(samples.manifest, part.manifest, _COMPARE)
        except DataError as error:
            raise DataError(f"{part.name}: {error.cause}", error.cure) from error
        return samples

    def _load_place(self, place: DataConfig | DataPartConfig) -> SampleSource:
        match place.provider:
            case "builtin":
                return self._load_builtin(place)
            case "tokens":
                return self._load_tokens(place)
            case "parquet":
                return self._load_parquet(place)
            case "http":
                return self._load_remote(place)
            case other:
                raise DataError(f"{other} is no place for data", "correct data.provider")

    def _load_builtin(self, place: DataConfig | DataPartConfig) -> SampleSource:
        if self.vocab_size < BYTE_VALUES:
            cause = f"the built-in text has {BYTE_VALUES} byte values, the model's vocabulary"
            raise DataError(f"{cause} {self.vocab_size}", "raise model.vocab_size")
        chosen = {"source": place.source, "manifest": place.manifest}
        return load_builtin_samples(self.data.model_copy(update=chosen))

    def _load_tokens(self, place: DataConfig | DataPartConfig) -> SampleSource:
        data = self.data
        folder = self._require_folder("trains on token files", "where they are")
        manifest, tokens = open_token_files(
            folder, place.files, place.token_bytes, self.vocab_size, self.on_progress
        )
        return TokenSamples(
            manifest, tokens, data.sequence_length, data.shuffle_seed, data.heldout_fraction
        )

    def _load_parquet(self, place: DataConfig | DataPartConfig) -> SampleSource:
        data = self.data
        folder = self._require_folder("trains on parquet files", "where they are")
        manifest, tokens, starts = open_parquet_files(
            folder, place.files, self.vocab_size, data.sequence_length, self.on_progress
        )
        return RowSamples(
            manifest,
            tokens,
            starts,
            data.sequence_length,
            data.shuffle_seed,
            data.heldout_fraction,
        )

    def _load_remote(self, place: DataConfig | DataPartConfig) -> SampleSource:
        data = self.data
        folder = self._require_folder("fetches its data", "where to keep it")
        mirrors = Mirrors(place.mirrors, first=os.getpid())  # peers begin with different ones
        manifest, tokens = open_remote_tokens(
            folder, mirrors, place.manifest, place.token_bytes, self.vocab_size
        )
        return TokenSamples(
            manifest,
            tokens,
            data.sequence_length,
            data.shuffle_seed,
            data.heldout_fraction,
            tokens.fetch,
        )

    def _require_folder(self, what: str, why: str) -> Path:
        if self.data_dir is None:
            raise DataError(f"this run {what}", f"say {why} with --data-dir")
        return self.data_dir

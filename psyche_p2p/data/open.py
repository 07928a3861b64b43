"""From a run's configuration to its samples, whichever provider it names."""

from __future__ import annotations

from psyche_p2p.config import DataConfig
from psyche_p2p.data.samples import SampleSource, load_builtin_samples
from psyche_p2p.errors import DataError


def open_samples(config: DataConfig) -> SampleSource:
    """The samples of a run, checked against its manifest."""
    if config.provider == "builtin":
        return load_builtin_samples(config)
    raise DataError(f"data.provider = {config.provider!r} is not supported yet", "use builtin")

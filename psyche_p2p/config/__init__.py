"""The configuration of a run: TOML in, canonical bytes and a run id out, precise errors."""

from psyche_p2p.config.canonical import canonical_bytes, decode_run_config, run_id
from psyche_p2p.config.data_schema import DataConfig, DataPartConfig, DataPlace
from psyche_p2p.config.load import load_run_config, parse_run_config
from psyche_p2p.config.schema import (
    AdamWConfig,
    BeginningConfig,
    CheckpointConfig,
    CommitteeConfig,
    DistillationConfig,
    DistroConfig,
    MembersConfig,
    ModelConfig,
    NetworkConfig,
    OptimizerConfig,
    RoundsConfig,
    RunConfig,
    RunSection,
    ScheduleConfig,
    SparseLocoConfig,
    SuffixGateConfig,
    SynergyConfig,
    VerificationConfig,
)

__all__ = [
    "RunConfig",
    "RunSection",
    "BeginningConfig",
    "MembersConfig",
    "RoundsConfig",
    "CommitteeConfig",
    "ModelConfig",
    "DataConfig",
    "DataPartConfig",
    "DataPlace",
    "OptimizerConfig",
    "DistroConfig",
    "SparseLocoConfig",
    "AdamWConfig",
    "ScheduleConfig",
    "DistillationConfig",
    "SuffixGateConfig",
    "SynergyConfig",
    "VerificationConfig",
    "CheckpointConfig",
    "NetworkConfig",
    "load_run_config",
    "parse_run_config",
    "canonical_bytes",
    "decode_run_config",
    "run_id",
]

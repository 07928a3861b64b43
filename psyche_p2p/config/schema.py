"""What a run can be told: one section a class, one docstring a key, the default beside it.

Times are in seconds, sizes in bytes, fractions between 0 and 1. Everything here is agreed by all
peers and hashed into the run id; what concerns one machine alone (its device, its folders) is given
on the command line instead. Rules between keys are in `rules.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from psyche_p2p.config.data_schema import DataConfig
from psyche_p2p.config.section import (
    Count,
    Decay,
    Fraction,
    Name,
    NonNegativeFloat,
    PeerIds,
    PeerIdText,
    Percent,
    Positive,
    PositiveFloat,
    Seconds,
    Section,
    require_printable,
)
from psyche_p2p.ids import MAX_TIER


class RunSection(Section):
    """What the run is called, who owns it, and how long it lasts."""

    name: Name
    """What people call the run: lower-case letters, digits, dots, dashes and underscores."""
    description: Annotated[str, Field(max_length=500), AfterValidator(require_printable)] = ""
    """A sentence for people who look the run up."""
    seed: Count = 0
    """The seed of the first parameters and of the first block."""
    total_rounds: Positive
    """The run is finished after this many rounds."""
    owner: PeerIdText | Literal[""] = ""
    """The peer whose signed commands pause and resume the run; empty for none."""


class BeginningConfig(Section):
    """Where a run begins that continues an earlier one. A new model begins with the defaults."""

    param_root: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """The root of the full model's first parameters; empty: they are drawn from run.seed."""
    round: Count = 0
    """The number of the first round: how many rounds those parameters have had."""
    sample: Count = 0
    """The first sample of the data that those parameters have not been trained on."""


class MembersConfig(Section):
    """Who takes part, and when there are enough."""

    init_min_members: Annotated[int, Field(ge=1, le=256)] = 1
    """An epoch opens only with at least this many ready members."""
    min_members: Annotated[int, Field(ge=1, le=256)] = 1
    """An epoch with fewer members left than this is closed."""
    max_members: Annotated[int, Field(ge=1, le=256)] = 256
    """An epoch takes at most this many members; the others wait for the next."""
    waiting_for_members_extra_s: Seconds = 3.0
    """How long to wait for more members once there are enough."""
    max_missed_rounds: Annotated[int, Field(ge=1, le=1000)] = 2
    """A member that misses this many of its rounds in a row is dropped."""
    allow: PeerIds = ()
    """If not empty, only these peers may join."""
    block: PeerIds = ()
    """These peers may not join."""


class RoundsConfig(Section):
    """How an epoch and its rounds proceed, and how much each round trains on."""

    pipeline_depth: Annotated[int, Field(ge=0, le=1)] = 1
    """0: a round's update is applied before the next trains; 1: while the next trains."""
    epoch_s: Seconds = 3600.0
    """An epoch ends after this long, so that newcomers can enter."""
    warmup_s: Seconds = 60.0
    """How long members may take to load the model before an epoch begins."""
    cooldown_s: Seconds = 10.0
    """How long an epoch's end leaves for checkpoints."""
    max_round_train_s: Seconds = 300.0
    """A round closes at this age at the latest, with whatever has been witnessed."""
    global_batch_size_start: Positive = 32
    """Samples in a round at the start of the run."""
    global_batch_size_end: Positive = 32
    """Samples in a round once the batch size has grown."""
    global_batch_size_warmup_tokens: Count = 0
    """Over how many tokens the batch size grows from start to end."""
    equal_batches: bool = False
    """True: every trainer gets the same number of samples; false: by measured throughput."""


class CommitteeConfig(Section):
    """Who witnesses contributions and votes on blocks."""

    witness_nodes: Annotated[int, Field(ge=0, le=32)] = 0
    """The size of the committee; 0 means every member, up to 32."""
    authorities: PeerIds = ()
    """If not empty, these peers are the committee, always."""


class ModelConfig(Section):
    """The transformer at tier 0, and how far it may be sliced."""

    architecture: Literal["llama", "nanogpt"] = "llama"
    """Which family of decoder."""
    vocab_size: Annotated[int, Field(ge=2, le=1 << 24)]
    """How many token ids the embedding has."""
    hidden_size: Annotated[int, Field(ge=8, le=1 << 20)]
    """The width of the residual stream."""
    intermediate_size: Annotated[int, Field(ge=8, le=1 << 22)]
    """The FFN width at tier 0 (tier t uses the first `intermediate_size >> t` units)."""
    num_layers: Annotated[int, Field(ge=1, le=1024)]
    """How many decoder blocks."""
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)]
    """How many query heads."""
    num_key_value_heads: Annotated[int, Field(ge=1, le=1024)]
    """How many key and value heads; equal to the query heads for plain attention."""
    max_seq_len: Annotated[int, Field(ge=2, le=1 << 20)]
    """The longest sequence the positions are made for."""
    max_tier: Annotated[int, Field(ge=0, le=MAX_TIER)] = 0
    """The smallest slice any peer may train."""
    activation: Literal["silu", "relu_squared"] = "silu"
    """The FFN's non-linearity."""
    bias: bool = False
    """Biases in the linear layers (nanogpt only; refused together with tiers above 0)."""
    tie_word_embeddings: bool = False
    """Whether the output layer is the embedding itself."""
    rope_theta: PositiveFloat = 10000.0
    """The base of the rotary positions."""
    rms_norm_eps: Annotated[float, Field(gt=0, le=0.1, allow_inf_nan=False)] = 1e-5
    """The epsilon inside the norms."""
    init_std: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.02
    """The standard deviation of the first weights."""


class DistroConfig(Section):
    """DisTrO: momentum in DCT space, the largest coefficients' signs on the wire, sign descent."""

    momentum_decay: Decay = 0.999
    """How much of the momentum stays from round to round."""
    chunk_size: Literal[8, 16, 32, 64] = 64
    """The side of the square chunks the parameters are cut into."""
    top_k: Annotated[int, Field(ge=1, le=4096)] = 8
    """Coefficients sent per chunk and round."""
    clip_grad_norm: NonNegativeFloat = 1.0
    """The global gradient norm is clipped to this; 0 turns clipping off."""
    weight_decay: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = 0.0
    """Parameters shrink by learning rate times this every round, on every peer."""
    lookahead: bool = True
    """Train on parameters that already include the peer's own pending update."""
    quantize_1bit: bool = True
    """Send signs only; false sends values (for study: not bit-exact across hardware)."""


class SparseLocoConfig(Section):
    """SparseLoCo: several local AdamW steps a round, then a sparse one-bit pseudo-gradient."""

    inner_steps: Annotated[int, Field(ge=1, le=10000)] = 8
    """Local steps per round."""
    inner_learning_rate: PositiveFloat = 3e-3
    """The peak learning rate of the local steps."""
    error_feedback: Decay = 0.95
    """How much of what was not sent is carried to the next round."""
    chunk_size: Literal[8, 16, 32, 64] = 64
    """The side of the square chunks the parameters are cut into."""
    top_k: Annotated[int, Field(ge=1, le=4096)] = 64
    """Values sent per chunk and round."""
    beta1: Decay = 0.9
    """AdamW's first-moment decay."""
    beta2: Decay = 0.95
    """AdamW's second-moment decay."""
    eps: PositiveFloat = 1e-8
    """AdamW's epsilon."""
    weight_decay: NonNegativeFloat = 0.0
    """AdamW's weight decay."""
    clip_grad_norm: NonNegativeFloat = 1.0
    """The gradient norm of each local step is clipped to this; 0 turns clipping off."""


class AdamWConfig(Section):
    """AdamW for a peer that trains alone."""

    beta1: Decay = 0.9
    """The first-moment decay."""
    beta2: Decay = 0.95
    """The second-moment decay."""
    eps: PositiveFloat = 1e-8
    """The epsilon in the denominator."""
    weight_decay: NonNegativeFloat = 0.0
    """The decoupled weight decay."""
    clip_grad_norm: NonNegativeFloat = 1.0
    """The gradient norm is clipped to this; 0 turns clipping off."""


class OptimizerConfig(Section):
    """How a round's gradients become an update. Only the chosen kind's section has an effect."""

    kind: Literal["distro", "sparse_loco", "adamw"] = "distro"
    """Which optimizer."""
    distro: DistroConfig = DistroConfig()
    """Settings of `distro`."""
    sparse_loco: SparseLocoConfig = SparseLocoConfig()
    """Settings of `sparse_loco`."""
    adamw: AdamWConfig = AdamWConfig()
    """Settings of `adamw`."""


class ScheduleConfig(Section):
    """The learning rate by round."""

    kind: Literal["constant", "linear", "cosine", "warmup_stable_decay"] = "cosine"
    """The shape after warm-up."""
    learning_rate: PositiveFloat = 2e-3
    """The peak."""
    warmup_rounds: Count = 0
    """Rounds of linear growth to the peak."""
    decay_rounds: Count = 0
    """For `warmup_stable_decay`: how many rounds at the end decay."""
    final_ratio: Fraction = 0.1
    """The learning rate at the end, as a share of the peak; it stays there afterwards."""
    cold_start_warmup_rounds: Count = 0
    """Rounds of linear growth after a pause that lost the optimizers' state."""


class SuffixGateConfig(Section):
    """How tier 0 lets the FFN suffix in: not at all at first, then gradually."""

    enabled: bool = False
    """Whether the gate is used."""
    start_round: Count = 0
    """The gate is closed until this round."""
    warmup_rounds: Count = 0
    """Rounds from closed to open."""
    shape: Literal["linear", "cosine"] = "linear"
    """The shape of the ramp."""
    prefix_tier: Annotated[int, Field(ge=1, le=MAX_TIER)] = 1
    """What is always open: the FFN units of this tier."""
    learnable: bool = False
    """A trained scalar per layer that multiplies the ramp. Refused: see docs/design.md."""


class SynergyConfig(Section):
    """One schedule for the suffix gate and distillation together; set both keys or neither."""

    phase_a_rounds: Count = 0
    """Rounds of prefix-only training: gate closed, no distillation."""
    ramp_rounds: Count = 0
    """Rounds over which both grow."""


class DistillationConfig(Section):
    """Tier 0 teaches the tiers above it, in place, on the students' own batches."""

    enabled: bool = False
    """Whether students get teacher targets."""
    beta_max: NonNegativeFloat = 0.2
    """The weight of the distillation loss once it has grown."""
    start_round: Count = 0
    """No distillation before this round."""
    warmup_rounds: Count = 0
    """Rounds over which its weight grows."""
    top_k: Annotated[int, Field(ge=1, le=4096)] = 64
    """Teacher logits sent per token; the rest is one tail bucket."""
    logits_to_keep: Count = 0
    """Targets only for so many positions at the end of each sample; 0 for all."""
    targets_form: Literal["compact", "plain"] = "compact"
    """How targets are written: `compact` takes 150 bytes a token where `plain` takes 260."""
    temperature: Annotated[float, Field(ge=0.1, le=100, allow_inf_nan=False)] = 1.0
    """Softens teacher and student alike."""
    combine: Literal["add", "mix"] = "add"
    """`add`: CE + beta KD; `mix`: (1 - beta) CE + beta KD."""
    min_teacher_topk_mass: Fraction = 0.02
    """Below this confidence of the teacher a batch trains without KD: the only way it is off."""
    kd_q_topk_mass_floor: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.05
    """Bounds the factor that strengthens KD when the teacher is unsure."""
    targets_wait_s: Seconds = 60.0
    """How long a student waits for its targets before its round fails; below max_round_train_s."""
    suffix_gate: SuffixGateConfig = SuffixGateConfig()
    """The ramp of tier 0's FFN suffix."""
    synergy: SynergyConfig = SynergyConfig()
    """The coupled schedule; overrides the start and warm-up keys of both."""

    def kept_positions(self, positions: int) -> int:
        """Of a sample's positions, how many have targets: the last ones."""
        return min(self.logits_to_keep, positions) if self.logits_to_keep else positions


class VerificationConfig(Section):
    """How other peers' work is checked by doing it again."""

    verification_percent: Percent = 0
    """The share of batches that verifiers re-run."""
    min_sign_agreement: Annotated[float, Field(ge=0.5, le=1, allow_inf_nan=False)] = 0.8
    """A contribution whose signs agree less than this with the re-run fails."""


class CheckpointConfig(Section):
    """When members write the model to their disks."""

    every_rounds: Count = 0
    """A checkpoint every so many rounds, beside the one at each epoch's end; 0 for none."""
    keep: Annotated[int, Field(ge=1, le=1000)] = 3
    """How many to keep."""


class NetworkConfig(Section):
    """Limits that all peers of the run hold each other to."""

    max_blob_bytes: Annotated[int, Field(ge=1 << 16, le=1 << 40)] = 1 << 30
    """A contribution larger than this is refused."""
    record_life_s: Seconds = 300.0
    """How long a peer's DHT record lives; it is refreshed at a third of that."""
    anti_entropy_s: Seconds = 1.0
    """How often two peers compare what they hold."""


class RunConfig(Section):
    """Everything the peers of a run agree on."""

    run: RunSection
    beginning: BeginningConfig = BeginningConfig()
    members: MembersConfig = MembersConfig()
    rounds: RoundsConfig = RoundsConfig()
    committee: CommitteeConfig = CommitteeConfig()
    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    distillation: DistillationConfig = DistillationConfig()
    verification: VerificationConfig = VerificationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    network: NetworkConfig = NetworkConfig()

"""Makes the run and, with the real trainer, the snapshot of its first parameters.

python -m benchmarks.joins.snapshot FOLDER RUN_FILE DONOR ...
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.joins.world import STORE_BYTES
from benchmarks.rounds.record import write_tokens
from benchmarks.transfer.ours import make_peer
from psyche_p2p.config import RunConfig, canonical_bytes, load_run_config, run_id
from psyche_p2p.consensus import IdentitySigner
from psyche_p2p.coordinator import encode_state, genesis_state
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BlobHash, ParamRoot, SchemaHash, Tier
from psyche_p2p.train.messages import Ready, Setup, Snapshot
from psyche_p2p.train.trainer import Trainer
from psyche_p2p.train.workshop import open_workshop
from psyche_p2p.wire import Capabilities, Join, Role
from psyche_p2p.wire.commands import Admit, Genesis


def main(arguments: list[str]) -> None:
    folder, run_file, *donors = arguments
    make_world(Path(folder), load_run_config(Path(run_file)), donors)


def make_world(folder: Path, config: RunConfig, donors: list[str]) -> None:
    """Write the run's configuration, its first state, and the snapshot in a store."""
    write_tokens(config, folder)
    setup = Setup(
        config=canonical_bytes(config).decode(),
        store=str(folder / "store"),
        store_bytes=STORE_BYTES,
        peer=Identity.from_seed(hash_bytes(donors[0].encode())).peer_id,
        tier=0,
        device="cpu",
        threads=0,
        micro_batch=1,
        checkpoint="",
        data_dir=str(folder),
        compile=False,
    )
    trainer = Trainer(open_workshop(setup), lambda _: None)
    made = trainer.snapshot(Snapshot(0, 0))
    (folder / "snapshot.json").write_text(json.dumps(asdict(made)))
    (folder / "config").write_bytes(canonical_bytes(config))
    genesis = make_genesis(config, trainer.ready(0.0), donors)
    (folder / "state").write_bytes(encode_state(genesis_state(config, genesis)))


def make_genesis(config: RunConfig, ready: Ready, donors: list[str]) -> Genesis:
    """The donors found the run, and vouch for its first parameters."""
    founders = (_admit(config, ready, name) for name in donors)
    return Genesis(
        run_id=run_id(config),
        time_ms=time.time_ns() // 1_000_000,
        schema_hash=SchemaHash(bytes.fromhex(ready.schema_hash)),
        param_roots=tuple(ParamRoot(bytes.fromhex(root)) for root in ready.roots),
        data_manifest=BlobHash(bytes.fromhex(ready.data_manifest)),
        founders=tuple(sorted(founders, key=lambda founder: founder.peer)),
    )


def _admit(config: RunConfig, ready: Ready, name: str) -> Admit:
    identity = Identity.from_seed(hash_bytes(name.encode()))
    join = Join(
        roles=(Role.TRAINER, Role.WITNESS),
        tier=Tier(0),
        capabilities=Capabilities(0, ready.memory_bytes, "cpu"),
        addresses=(),
        tls_fingerprint=BlobHash(make_peer(name)[1].fingerprint),
        schema_hash=SchemaHash(bytes.fromhex(ready.schema_hash)),
        nonce=1,
    )
    signed = IdentitySigner(identity, run_id(config)).seal(join)
    return Admit(identity.peer_id, join, signed.signature)


if __name__ == "__main__":
    main(sys.argv[1:])

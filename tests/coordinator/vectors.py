"""Golden vectors of coordination, in JSON that another implementation can use.

python -m tests.coordinator.vectors      # write vectors.json again, after a change of protocol
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from psyche_p2p.config import canonical_bytes
from psyche_p2p.coordinator import compute_quorum, encode_state, proposer_order, state_root
from psyche_p2p.coordinator.assignment import assign_slots, compute_batch_sizes, select_jury
from psyche_p2p.coordinator.committee import select_committee
from psyche_p2p.coordinator.rendezvous import score
from psyche_p2p.coordinator.rules import Rules, rules_of
from psyche_p2p.coordinator.schedule import compute_batch_size, compute_learning_rate_bits
from psyche_p2p.coordinator.state import new_member
from psyche_p2p.hashing import hash_bytes
from psyche_p2p.ids import PeerId, public_key_from_peer_id
from psyche_p2p.wire import Role, encode
from psyche_p2p.wire.records import Slot
from tests.coordinator.world import World, identity, make_config, make_genesis, make_join

PATH = Path(__file__).with_name("vectors.json")
CONFIG = make_config(
    run={"total_rounds": 6},
    rounds={
        "equal_batches": False,
        "global_batch_size_start": 20,
        "global_batch_size_end": 40,
        "global_batch_size_warmup_tokens": 10_000,
    },
    verification={"verification_percent": 40},
    distillation={"enabled": True, "targets_wait_s": 30.0},
    schedule={"kind": "cosine", "learning_rate": 2e-3, "warmup_rounds": 2},
)
_ROLES = {5: (Role.TRAINER,), 7: (Role.WITNESS,)}
JOINS = {
    index: make_join(
        _ROLES.get(index, (Role.TRAINER, Role.WITNESS)),
        tier=index % 3,
        tokens_per_s=500 * index,
    )
    for index in range(1, 8)
}


def compute_vectors() -> dict[str, Any]:
    """Everything that implementations must agree on, from fixed seeds."""
    rules = rules_of(CONFIG)
    return {
        "quorum": {str(size): compute_quorum(size) for size in (1, 2, 3, 4, 5, 7, 10, 32, 256)},
        "rendezvous": [_rendezvous(number) for number in range(3)],
        "batch_sizes": [_batch_sizes(*case) for case in _SIZES],
        "rounds": [_round(rules, number) for number in range(5)],
        "schedules": [_schedule(**schedule) for schedule in _SCHEDULES],
        "batch_ramp": {str(index): compute_batch_size(rules, index) for index in range(0, 100, 9)},
        "run": _run(World.start(CONFIG, JOINS)),
        "run_with_bad_targets": _run(_world_with_bad_targets()),
    }


_SIZES = (
    (100, [1000, 1000, 10, 10**9], False),
    (10, [1, 2, 3], True),
    (64, [0, 0, 500], False),
    (5, [0, 0, 0, 0, 0], False),
)
_SCHEDULES: tuple[dict[str, Any], ...] = (
    {"kind": "constant", "warmup_rounds": 3},
    {"kind": "linear", "warmup_rounds": 3, "final_ratio": 0.25},
    {"kind": "cosine", "warmup_rounds": 3},
    {"kind": "warmup_stable_decay", "warmup_rounds": 3, "decay_rounds": 4},
)


def _seed(number: int) -> bytes:
    return hash_bytes(b"vector %d" % number)


def _key(peer: PeerId) -> str:
    return public_key_from_peer_id(peer).hex()


def _rendezvous(number: int) -> dict[str, Any]:
    peer = identity(number + 1).peer_id
    digest = score(_seed(number), "batch", peer, b"subject")
    return {
        "seed": _seed(number).hex(),
        "purpose": "batch",
        "peer": _key(peer),
        "subject": b"subject".hex(),
        "score": digest.hex(),
    }


def _batch_sizes(total: int, speeds: list[int], is_equal: bool) -> dict[str, Any]:
    sizes = compute_batch_sizes(total, speeds, is_equal=is_equal)
    return {"total": total, "speeds": speeds, "is_equal": is_equal, "sizes": sizes}


def _round(rules: Rules, number: int) -> dict[str, Any]:
    members = [new_member(identity(index).peer_id, join) for index, join in JOINS.items()]
    seed = _seed(number)
    return {
        "seed": seed.hex(),
        "committee": [_key(peer) for peer in select_committee(rules, members, seed)],
        "jury": [_key(peer) for peer in select_jury(members, seed)],
        "slots": [_slot(slot) for slot in assign_slots(rules, members, seed, range(7, 47))],
    }


def _slot(slot: Slot) -> dict[str, Any]:
    return {
        "batch": [slot.batch.start, slot.batch.end],
        "trainer": _key(slot.trainer),
        "tier": slot.tier,
        "teacher": _key(slot.teacher) if slot.teacher else None,
        "verifiers": [_key(peer) for peer in slot.verifiers],
    }


def _schedule(**schedule: Any) -> dict[str, Any]:
    rules = rules_of(
        make_config(run={"total_rounds": 12}, schedule={"learning_rate": 2e-3} | schedule)
    )
    bits = [f"{compute_learning_rate_bits(rules, index, 0):08x}" for index in range(14)]
    cold = f"{compute_learning_rate_bits(rules, 8, 7):08x}"
    return schedule | {
        "total_rounds": 12,
        "learning_rate": 2e-3,
        "bits": bits,
        "cold_8_since_7": cold,
    }


def _world_with_bad_targets() -> World:
    """One of its teachers is named whenever it teaches, and dropped for it."""
    world = World.start(CONFIG, JOINS)
    world.bad_teachers = {identity(3).peer_id}
    return world


def _run(world: World) -> dict[str, Any]:
    """A whole run, block by block: each block's bytes and the state root it must reach."""
    genesis_state = encode_state(world.state)
    blocks: list[dict[str, Any]] = []
    while world.step() or world.state.phase.name != "FINISHED":
        world.wait(1)
        if len(blocks) < len(world.blocks):
            block = world.blocks[-1]
            blocks.append(
                {
                    "block": encode(block).hex(),
                    "state_root": state_root(world.state).hex(),
                    "phase": world.state.phase.name,
                    "proposers": [_key(peer) for peer in proposer_order(world.state)],
                }
            )
    return {
        "config": canonical_bytes(CONFIG).hex(),
        "genesis": encode(make_genesis(CONFIG, JOINS)).hex(),
        "genesis_state": genesis_state.hex(),
        "blocks": blocks,
        "final_state": encode_state(world.state).hex(),
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(compute_vectors(), indent=1) + "\n")

"""`psyche-peer log`: a stored log is shown, verified, and its first fault is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from psyche_p2p.cli.log import log
from psyche_p2p.coordinator import (
    apply,
    block_hash,
    decode_command,
    encode_command,
    proposer_at,
)
from psyche_p2p.coordinator.logfile import encode_log_head
from psyche_p2p.errors import ExitCode
from psyche_p2p.ids import Tier, View, short_id
from psyche_p2p.wire import (
    Block,
    DecidedBlock,
    encode_frame,
)
from psyche_p2p.wire.commands import CloseRound, OpenEpoch, RefusedTargets
from tests.coordinator.recorded import JOINS, Recorded, certify
from tests.coordinator.world import World, make_config

CONFIG = make_config(run={"total_rounds": 3})
RECORDED = Recorded(CONFIG)


def run(command: str, path: Path, *options: str) -> Result:
    return CliRunner().invoke(log, [command, str(path), *options], standalone_mode=False)


def test_a_whole_log_is_valid(tmp_path: Path) -> None:
    path = RECORDED.write(tmp_path / "run.log")
    result = run("verify", path)
    assert result.return_value == ExitCode.OK
    assert "blocks of run test are valid; FINISHED, epoch 1, 3 rounds settled" in result.output
    values = json.loads(run("verify", path, "--json").output)
    state = RECORDED.world.state
    assert values["block_hash"] == state.block_hash.hex()
    roots = {str(tier): state.param_root_of(Tier(tier)).hex() for tier in range(3)}
    assert values["param_roots"] == roots
    assert values["param_root"] == roots["0"]
    assert f"param root {short_id(state.param_root)} after 3" in result.output


def test_show_names_every_block(tmp_path: Path) -> None:
    path = RECORDED.write(tmp_path / "run.log")
    lines = run("show", path).output.splitlines()
    assert len(lines) == len(RECORDED.decided)
    assert "OpenEpoch" in lines[0]
    assert "CloseRound 0" in lines[2]
    first = json.loads(run("show", path, "--json").output.splitlines()[0])
    assert (first["height"], first["commands"], first["signatures"]) == (1, ["OpenEpoch"], 3)


def test_show_says_whose_students_got_bad_targets(tmp_path: Path) -> None:
    block, certificate = RECORDED.decided[2].block, RECORDED.decided[2].certificate
    close = decode_command(block.commands[0])
    assert isinstance(close, CloseRound)
    refused = RefusedTargets(close.contributions[1], ())
    told = replace(block, commands=(encode_command(replace(close, refused=(refused,))),))
    path = RECORDED.write(tmp_path / "run.log", changed(2, DecidedBlock(told, certificate)))
    assert "CloseRound 0, targets of slot 1 refused" in run("show", path).output


def changed(index: int, decided: DecidedBlock) -> list[DecidedBlock]:
    return [*RECORDED.decided[:index], decided, *RECORDED.decided[index + 1 :]]


def fault_of(path: Path) -> tuple[int, str]:
    result = run("verify", path, "--json")
    assert result.return_value == ExitCode.INVALID
    values = json.loads(result.stdout.splitlines()[0])
    return values["height"], values["reason"]


def test_a_certificate_short_of_a_quorum_is_found(tmp_path: Path) -> None:
    decided = RECORDED.decided[3]
    few = replace(decided.certificate, signatures=decided.certificate.signatures[:2])
    path = RECORDED.write(tmp_path / "run.log", changed(3, replace(decided, certificate=few)))
    assert fault_of(path) == (4, "2 signatures, a quorum is 3")


def test_a_forged_signature_is_found(tmp_path: Path) -> None:
    decided = RECORDED.decided[2]
    signatures = decided.certificate.signatures
    swapped = (replace(signatures[0], signature=signatures[1].signature), *signatures[1:])
    forged = replace(decided.certificate, signatures=swapped)
    path = RECORDED.write(tmp_path / "run.log", changed(2, replace(decided, certificate=forged)))
    height, reason = fault_of(path)
    assert height == 3
    assert "did not sign this precommit" in reason


def test_a_certified_block_that_does_not_apply_is_found(tmp_path: Path) -> None:
    """Even a quorum cannot make a block follow that does not."""
    world = World.start(CONFIG, JOINS)
    world.wait(2)
    block: Block = world.propose([OpenEpoch(world.state.epoch)])
    bad = replace(block, state_root=RECORDED.decided[1].block.state_root)
    voters = sorted(member.peer for member in world.state.members)
    certificate = certify(world, bad.height, bad.view, block_hash(bad), voters)
    path = RECORDED.write(tmp_path / "run.log", [DecidedBlock(bad, certificate)])
    height, reason = fault_of(path)
    assert height == 1
    assert "the block ends in state" in reason
    assert apply(world.state, block).height == 1
    assert proposer_at(world.state, View(0)) == block.proposer


def test_a_missing_block_is_found(tmp_path: Path) -> None:
    path = RECORDED.write(tmp_path / "run.log", RECORDED.decided[:2] + RECORDED.decided[3:])
    assert fault_of(path) == (3, "height 4 stands in its place")


def test_a_file_cut_short_is_found(tmp_path: Path) -> None:
    path = RECORDED.write(tmp_path / "run.log")
    path.write_bytes(path.read_bytes()[:-1])
    height, reason = fault_of(path)
    assert height == len(RECORDED.decided)
    assert "the stream ends inside a frame" in reason
    assert run("show", path).return_value == ExitCode.INVALID


def test_founders_must_have_signed(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(encode_log_head(replace(RECORDED.head, founding=None)))
    assert fault_of(path) == (0, "its founders have not signed the genesis")


@pytest.mark.parametrize("junk", [b"", b"junk", encode_frame(b"psyche-p2p log 1"), b"\xff" * 20])
def test_junk_is_not_a_log(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(junk)
    height, reason = fault_of(path)
    assert height == 0
    assert reason


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    whole = bytearray(RECORDED.write(tmp_path / "run.log").read_bytes())
    for position in range(0, len(whole), 509):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path = tmp_path / "damaged.log"
        path.write_bytes(damaged)
        assert run("verify", path).return_value == ExitCode.INVALID, position


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    result = run("verify", tmp_path / "none.log")
    assert "no such file; check the path" in str(result.exception)

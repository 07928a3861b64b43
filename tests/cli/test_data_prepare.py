"""`psyche-peer data prepare` and `data info`: what they print, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from psyche_p2p.cli.main import _exit_code, cli
from psyche_p2p.cli.progress import show_progress
from psyche_p2p.errors import ExitCode
from tests.data.tokenizers_here import TEXT, write_tokenizer


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["data", *arguments], standalone_mode=False)
    if result.exception is not None:
        return getattr(result.exception, "exit_code", -1), str(result.exception)
    return int(result.return_value or 0), result.stdout


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text(TEXT * 9000)
    with (tmp_path / "b.jsonl").open("w") as file:
        file.writelines(json.dumps({"body": TEXT}) + "\n" for _ in range(100))
    return tmp_path


def test_bytes_are_prepared_and_described(texts: Path) -> None:
    out = str(texts / "out")
    code, printed = run("prepare", str(texts / "a.txt"), "--bytes", "--out", out, "--json")
    made = json.loads(printed)
    assert (code, made["documents"], made["token_bytes"]) == (0, 1, 2)
    assert made["tokens"] == made["text_bytes"] + 1 == len((TEXT * 9000).encode()) + 1
    code, printed = run("info", out, "--check", "--json")
    described = json.loads(printed)
    assert (code, described["manifest"], described["bad"]) == (0, made["manifest"], [])
    code, printed = run("prepare", str(texts / "a.txt"), "--bytes", "--out", out)
    assert f"manifest {made['manifest']}" in printed


def test_a_tokenizer_and_json_lines(texts: Path) -> None:
    tokenizer = str(write_tokenizer(texts / "tokenizer.json"))
    arguments = ["prepare", str(texts / "b.jsonl"), "--tokenizer", tokenizer, "--field", "body"]
    code, printed = run(*arguments, "--out", str(texts / "out"), "--json")
    made = json.loads(printed)
    assert (code, made["documents"], made["separator"]) == (0, 100, "<|endoftext|>")
    assert made["tokens"] < made["text_bytes"]
    arguments += ["--separator", "", "--out", str(texts / "out2"), "--json"]
    assert json.loads(run(*arguments)[1])["tokens"] == made["tokens"] - 100


def test_bad_shards_are_named_all_of_them(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = texts / "out"
    run("prepare", str(texts / "a.txt"), "--bytes", "--out", str(out), "--shard-mib", "1")
    first, last = sorted(out.glob("shard-*.bin"))
    data = bytearray(first.read_bytes())
    data[200_000] ^= 1
    first.write_bytes(data)
    (out / f"{last.name}.blocks").unlink()
    assert _exit_code(cli, ["data", "info", str(out), "--check"]) == ExitCode.DATA
    said = capsys.readouterr().err
    assert f"error: {first.name} is damaged: 1 of 16 blocks, the first from byte 196608" in said
    assert f"error: {last.name} has no hashes that are the manifest's" in said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["prepare", "a.txt", "--out", "out"], ExitCode.USAGE),
        (["prepare", "a.txt", "--out", "out", "--bytes", "--tokenizer", "t"], ExitCode.USAGE),
        (["prepare", "a.txt", "--out", "out", "--bytes", "--separator", "x"], ExitCode.USAGE),
        (["prepare", "--out", "out", "--bytes"], ExitCode.USAGE),
        (["prepare", "none.txt", "--out", "out", "--bytes"], ExitCode.STORAGE),
        (["prepare", "a.txt", "--out", "a.txt", "--bytes"], ExitCode.STORAGE),
        (["prepare", "a.txt", "--out", "out", "--tokenizer", "a.txt"], ExitCode.DATA),
        (["prepare", "b.jsonl", "--out", "out", "--bytes"], ExitCode.DATA),
        (["info", "."], ExitCode.DATA),
        (["info", "a.txt"], ExitCode.DATA),
    ],
)
def test_refusals_end_in_the_documented_exit_code(
    texts: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: ExitCode
) -> None:
    monkeypatch.chdir(texts)
    assert _exit_code(cli, ["data", *arguments]) == code


def test_progress_off_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = iter([0.0, 1.0, 11.0, 12.0, 22.0])
    monkeypatch.setattr("psyche_p2p.cli.progress.time.monotonic", lambda: next(now_s))
    with show_progress("preparing", 100_000_000) as on_done:
        for done in (10, 21, 31, 43):
            on_done(done * 1_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "preparing: 21 of 100 MB, 1.0 MB/s",
        "preparing: 43 of 100 MB, 1.5 MB/s",
    ]

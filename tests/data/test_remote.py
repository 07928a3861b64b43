"""Tokens over HTTP, from real sockets: fetched once, checked, and from another if not right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from psyche_p2p.config import DataConfig, RunConfig, load_run_config
from psyche_p2p.data.blocks import BLOCK_BYTES
from psyche_p2p.data.documents import find_sources
from psyche_p2p.data.encoder import ByteEncoder
from psyche_p2p.data.load import load_samples
from psyche_p2p.data.manifest import Manifest, ManifestEntry, encode_manifest
from psyche_p2p.data.mirrors import Mirrors
from psyche_p2p.data.prepare import Plan, prepare
from psyche_p2p.data.remote import RemoteTokens, open_remote_tokens
from psyche_p2p.errors import DataError, PsycheError, Unavailable
from psyche_p2p.ids import BatchInterval
from tests.data.web_server import Behaviour, Request, WebServer

NANO = Path(__file__).parents[2] / "configs" / "nano.toml"
VOCAB = 256
PATIENT_S, HASTY_S = 30.0, 0.25
Serve = Callable[..., WebServer]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Four shards of three blocks each, the last one short."""
    text = np.random.default_rng(5).integers(32, 127, 5 * BLOCK_BYTES + 999, dtype=np.uint8)
    (tmp_path / "text.txt").write_bytes(text.tobytes())
    folder = tmp_path / "corpus"
    plan = Plan(find_sources([tmp_path / "text.txt"]), "text", ByteEncoder(), 3 * BLOCK_BYTES)
    prepare(plan, folder)
    return folder


@pytest.fixture
def serve(corpus: Path) -> Iterator[Serve]:
    servers: list[WebServer] = []

    def start(behaviour: Behaviour = Request.answer_honestly, folder: Path = corpus) -> WebServer:
        servers.append(WebServer(folder, behaviour))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def everything(corpus: Path) -> np.ndarray:
    shards = sorted(corpus.glob("shard-*.bin"))
    return np.concatenate([np.fromfile(shard, dtype="<u2") for shard in shards])


def pinned(corpus: Path) -> str:
    return prepare(Plan(find_sources([corpus.parent / "text.txt"]), "text", ByteEncoder(),
                        3 * BLOCK_BYTES), corpus).digest.hex()  # fmt: skip


def mirrors_of(*servers: WebServer, answer_s: float = PATIENT_S) -> tuple[Mirrors, list[float]]:
    pauses: list[float] = []
    return Mirrors([server.address for server in servers], answer_s, pauses.append), pauses


def opened(corpus: Path, cache: Path, mirrors: Mirrors) -> RemoteTokens:
    return open_remote_tokens(cache, mirrors, pinned(corpus), 2, VOCAB)[1]


def test_only_what_is_read_is_fetched_and_only_once(
    corpus: Path, tmp_path: Path, serve: Serve
) -> None:
    server, whole = serve(), everything(corpus)
    mirrors, _ = mirrors_of(server)
    tokens = opened(corpus, tmp_path / "cache", mirrors)
    assert server.asked == ["manifest.txt"]
    per_block = BLOCK_BYTES // 2
    for _ in range(2):
        assert tokens[10:20].tolist() == whole[10:20].tolist()
    assert server.asked[1:] == ["shard-00000.bin.blocks", "shard-00000.bin"]
    crossing = slice(3 * per_block - 5, 3 * per_block + 5)
    assert tokens[crossing].tolist() == whole[crossing].tolist()
    assert sorted(server.asked[3:]) == [
        "shard-00000.bin",
        "shard-00001.bin",
        "shard-00001.bin.blocks",
    ]
    again = opened(corpus, tmp_path / "cache", mirrors)
    before = len(server.asked)
    assert again[crossing].tolist() == whole[crossing].tolist()
    assert len(server.asked) == before
    assert again[0 : len(again)].tolist() == whole.tolist()
    mirrors.close()


def test_a_damaged_cache_is_mended_and_a_copied_folder_is_a_full_cache(
    corpus: Path, tmp_path: Path, serve: Serve
) -> None:
    server, whole = serve(), everything(corpus)
    mirrors, _ = mirrors_of(server)
    cache = tmp_path / "cache"
    cache.mkdir()
    for path in corpus.iterdir():
        (cache / path.name).write_bytes(path.read_bytes())
    with (cache / "shard-00001.bin").open("r+b") as file:
        file.seek(BLOCK_BYTES + 7)
        file.write(b"\xff")
    (cache / "shard-00002.bin").write_bytes(b"half")
    (cache / "shard-00003.bin.blocks").write_bytes(b"junk")
    tokens = opened(corpus, cache, mirrors)
    assert tokens[0 : len(tokens)].tolist() == whole.tolist()
    assert sorted(set(server.asked)) == [
        "shard-00001.bin",
        "shard-00002.bin",
        "shard-00003.bin.blocks",
    ]
    assert server.asked.count("shard-00001.bin") == 1
    mirrors.close()


def truncate(request: Request) -> None:
    request.answer(request.part[:-1], length=len(request.part))


def truncate_without_saying(request: Request) -> None:
    request.answer(request.part[:-1], length=None)


def promise_more(request: Request) -> None:
    request.answer(request.part, length=1 << 40)


def send_more(request: Request) -> None:
    request.answer(request.part + b"more", length=None)


def send_wrong_bytes(request: Request) -> None:
    request.answer(bytes(byte ^ 1 for byte in request.part))


def send_another_part(request: Request) -> None:
    first, stop = request.span or (0, 0)
    other = f"bytes {first + 1}-{stop}/{len(request.data)}"
    request.answer(request.part, Content_Range=other)


def send_of_another_file(request: Request) -> None:
    first, stop = request.span or (0, 0)
    request.answer(request.part, Content_Range=f"bytes {first}-{stop - 1}/123456")


def send_it_unsaid(request: Request) -> None:
    request.answer(request.part, Content_Range="bytes everything")


def ignore_ranges(request: Request) -> None:
    request.answer(request.data, 200)


def compress(request: Request) -> None:
    request.answer(request.part, Content_Encoding="gzip")


def redirect_to_a_file(request: Request) -> None:
    request.answer(b"", 302, Location="file:///etc/passwd")


def redirect_for_ever(request: Request) -> None:
    request.answer(b"", 302, Location="/shard-00000.bin")


def forbid(request: Request) -> None:
    request.answer(b"", 403)


def be_overloaded(request: Request) -> None:
    request.answer(b"", 503)


def be_slow(request: Request) -> None:
    request.send_slowly(request.part)


ALL_FAULTS = [
    (truncate, "it broke off after 65535 of 65536 bytes"),
    (truncate_without_saying, "it broke off after 65535 of 65536 bytes"),
    (promise_more, "it promises 1099511627776 bytes, at most 65536"),
    (send_more, "it sends more than the 65536 bytes"),
    (send_wrong_bytes, "its bytes have another hash"),
    (send_another_part, "it sends bytes 1 to 65536, asked for 0 to 65535"),
    (send_of_another_file, "its file has 123456 bytes, the manifest says 196608"),
    (send_it_unsaid, "it does not say which part"),
    (ignore_ranges, "it promises 196608 bytes, at most 65536"),
    (compress, "it sends the file compressed"),
    (redirect_to_a_file, "it redirects to file:///etc/passwd"),
    (redirect_for_ever, "it redirects more than 4 times"),
    (forbid, "status 403"),
    (be_overloaded, "status 503"),
    (be_slow, "no whole answer within 0.25 s"),
    (Request.hang_up, "Remote end closed connection"),
]


TEMPORARY = (truncate, truncate_without_saying, be_overloaded, be_slow, Request.hang_up)


def with_hashes(corpus: Path, cache: Path) -> Path:
    """A cache in which only the tokens are missing."""
    cache.mkdir()
    for path in [corpus / "manifest.txt", *corpus.glob("*.blocks")]:
        (cache / path.name).write_bytes(path.read_bytes())
    return cache


def only_for_shards(fault: Behaviour) -> Behaviour:
    """The manifest and the hashes are right, so that the fault meets the ranges."""

    def behave(request: Request) -> None:
        if request.span:
            fault(request)
        else:
            request.answer_honestly()

    return behave


@pytest.mark.parametrize(("fault", "reason"), ALL_FAULTS)
def test_a_bad_mirror_is_named_with_the_reason_and_the_next_one_is_asked(
    corpus: Path,
    tmp_path: Path,
    serve: Serve,
    fault: Behaviour,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad, good = serve(fault), serve()
    mirrors, pauses = mirrors_of(bad, good, answer_s=HASTY_S if fault is be_slow else PATIENT_S)
    tokens = opened(corpus, with_hashes(corpus, tmp_path / "cache"), mirrors)
    assert tokens[0:9].tolist() == everything(corpus)[:9].tolist()
    assert bad.asked[0] == good.asked[0] == "shard-00000.bin"
    assert pauses == [] or fault is be_slow  # where the honest one may be slow too, if we are busy
    assert reason in str([record.__dict__ for record in caplog.records])
    mirrors.close()


@pytest.mark.parametrize(("fault", "reason"), ALL_FAULTS)
def test_where_no_mirror_is_right_all_reasons_are_given(
    corpus: Path, tmp_path: Path, serve: Serve, fault: Behaviour, reason: str
) -> None:
    bad = serve(fault)
    mirrors, pauses = mirrors_of(bad, answer_s=HASTY_S if fault is be_slow else PATIENT_S)
    tokens = opened(corpus, with_hashes(corpus, tmp_path / "cache"), mirrors)
    with pytest.raises(PsycheError) as caught:
        tokens[0:9]
    said = str(caught.value)
    assert said.startswith(f"no mirror gives shard-00000.bin at byte 0 ({bad.address}: ")
    assert reason in said
    assert "\n" not in said
    is_temporary = fault in TEMPORARY
    assert isinstance(caught.value, Unavailable if is_temporary else DataError)
    assert pauses == ([0.5, 1.0, 2.0, 4.0, 8.0] if is_temporary else [])
    mirrors.close()


def test_a_mirror_that_recovers_is_used_after_a_pause(
    corpus: Path, tmp_path: Path, serve: Serve
) -> None:
    server = serve()
    pauses: list[float] = []

    def recover(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            server.behaviour = Request.answer_honestly

    mirrors = Mirrors([server.address], PATIENT_S, recover)
    tokens = opened(corpus, tmp_path / "cache", mirrors)
    server.behaviour = be_overloaded
    assert tokens[0:9].tolist() == everything(corpus)[:9].tolist()
    assert pauses == [0.5, 1.0]
    mirrors.close()


def test_a_liar_is_not_asked_again_for_that_file(
    corpus: Path, tmp_path: Path, serve: Serve
) -> None:
    bad, good = serve(send_wrong_bytes), serve()
    mirrors, _ = mirrors_of(bad, good)
    tokens = opened(corpus, with_hashes(corpus, tmp_path / "cache"), mirrors)
    per_block = BLOCK_BYTES // 2
    for block in range(3):
        assert len(tokens[block * per_block : block * per_block + 2]) == 2
    assert bad.asked == ["shard-00000.bin"]
    assert good.asked == ["shard-00000.bin"] * 3
    mirrors.close()


def test_a_server_that_closes_after_every_answer_is_honest(
    corpus: Path, tmp_path: Path, serve: Serve
) -> None:
    def close(request: Request) -> None:
        request.answer(request.part, length=None)

    mirrors, pauses = mirrors_of(serve(close))
    tokens = opened(corpus, tmp_path / "cache", mirrors)
    assert tokens[0 : len(tokens)].tolist() == everything(corpus).tolist()
    assert pauses == []
    mirrors.close()


def test_an_honest_redirection_is_followed(corpus: Path, tmp_path: Path, serve: Serve) -> None:
    good = serve()

    def elsewhere(request: Request) -> None:
        request.answer(b"", 307, Location=good.address + request.name)

    mirrors, _ = mirrors_of(serve(elsewhere))
    tokens = opened(corpus, tmp_path / "cache", mirrors)
    assert tokens[0 : len(tokens)].tolist() == everything(corpus).tolist()
    mirrors.close()


def test_another_corpus_is_refused_and_the_next_mirror_asked(
    corpus: Path, tmp_path: Path, serve: Serve
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.txt").write_bytes(
        encode_manifest(Manifest("uint16-le", (ManifestEntry("a.bin", 2, bytes(32)),)))
    )
    bad = serve(folder=other)
    mirrors, _ = mirrors_of(bad, serve())
    assert len(opened(corpus, tmp_path / "cache", mirrors)) == len(everything(corpus))
    alone, _ = mirrors_of(bad)
    with pytest.raises(DataError, match=r"no mirror gives manifest\.txt .* the data's manifest is"):
        opened(corpus, tmp_path / "cache2", alone)
    mirrors.close()
    alone.close()


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("../a.bin", 2, "no .bin file of theirs"),
        ("/etc/a.bin", 2, "no .bin file of theirs"),
        ("a/../../b.bin", 2, "no .bin file of theirs"),
        ("manifest.txt", 2, "no .bin file of theirs"),
        ("a.bin", 3, "a.bin has 3 bytes, not a multiple of 2"),
        ("a.bin", 0, "a.bin has 0 bytes"),
    ],
)
def test_a_manifest_cannot_lead_out_of_the_folder(
    tmp_path: Path, serve: Serve, name: str, size: int, message: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    manifest = Manifest("uint16-le", (ManifestEntry(name, size, bytes(32)),))
    (other / "manifest.txt").write_bytes(encode_manifest(manifest))
    mirrors, _ = mirrors_of(serve(folder=other))
    with pytest.raises(DataError, match=message):
        open_remote_tokens(tmp_path / "cache", mirrors, manifest.digest.hex(), 2, VOCAB)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["manifest.txt"]
    mirrors.close()


def test_a_token_beyond_the_vocabulary_is_named(corpus: Path, tmp_path: Path, serve: Serve) -> None:
    mirrors, _ = mirrors_of(serve())
    _, tokens = open_remote_tokens(tmp_path / "cache", mirrors, pinned(corpus), 2, 50)
    with pytest.raises(DataError, match=r"shard-00000.bin has token \d+ at position \d+, the"):
        tokens[0:9]
    mirrors.close()


def test_a_file_of_the_user_is_never_cut(corpus: Path, tmp_path: Path, serve: Serve) -> None:
    mirrors, _ = mirrors_of(serve())
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "shard-00000.bin").write_bytes(bytes(4 * BLOCK_BYTES))
    with pytest.raises(DataError, match="has 262144 bytes, the manifest says 196608; move it"):
        opened(corpus, tmp_path / "cache", mirrors)
    mirrors.close()


def run_config(address: str, manifest: str) -> RunConfig:
    data = DataConfig(
        provider="http", mirrors=(address,), manifest=manifest, sequence_length=64, shuffle_seed=4
    )
    return load_run_config(NANO).model_copy(update={"data": data})


def test_samples_over_http_are_those_of_the_files(
    corpus: Path, tmp_path: Path, serve: Serve
) -> None:
    config = run_config(serve().address, pinned(corpus))
    remote = load_samples(config, tmp_path / "cache")
    local_data = config.data.model_copy(
        update={"provider": "tokens", "files": ("shard-*.bin",), "mirrors": ()}
    )
    local = load_samples(config.model_copy(update={"data": local_data}), corpus)
    assert remote.manifest == local.manifest
    assert remote.heldout_count == local.heldout_count
    for start in (0, 7, 5000):
        batch = BatchInterval(start, start + 9)
        assert remote.train_samples(batch).tolist() == local.train_samples(batch).tolist()
    assert remote.heldout_samples(0, 5).tolist() == local.heldout_samples(0, 5).tolist()


def test_the_cache_needs_a_folder() -> None:
    with pytest.raises(DataError, match="fetches its data; say where to keep it with --data-dir"):
        load_samples(run_config("http://127.0.0.1:9/", "ab" * 32))

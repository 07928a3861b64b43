"""Two peers that would begin a run with unlike things: each is told in what, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from psyche_p2p.clock import SystemClock
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.data.manifest import Manifest, encode_manifest, make_manifest
from psyche_p2p.errors import DataError, ModelError
from psyche_p2p.ids import BlobHash, SchemaHash
from psyche_p2p.model.schema import Schema, encode_schema, model_schema, schema_hash
from psyche_p2p.net.parameter_offers import ParameterOffers
from psyche_p2p.node.beginning import require_same_beginning
from psyche_p2p.node.bulk_plane import Told
from psyche_p2p.node.comparison import Comparison
from psyche_p2p.train.messages import Ready
from tests.coordinator.recorded import Recorded
from tests.coordinator.world import make_config
from tests.net.builders import joiner_client, make_person, serve_joiners, serve_members
from tests.node.doors import Doors

CONFIG = make_config()
OURS = model_schema(CONFIG.model)
OUR_HASH = schema_hash(OURS)
OTHER = {**OURS, "config.qk_norm": "True", "tensor.embed_tokens.weight": "float32[1, 1]"}
OTHER = dict(sorted(OTHER.items()))
OTHER_HASH = schema_hash(OTHER)
OUR_FILES = make_manifest("bytes", [("abc.py", b"def"), ("zlib.py", b"")])
OTHER_FILES = make_manifest("bytes", [("abc.py", b"fed"), ("zlib.py", b"")])
HEAD = Recorded(CONFIG).head
HERS, LIARS = make_person("she"), make_person("liar")


class Encoded(Told):
    """Gives a schema as it is written here, whatever that is."""

    text = b""

    def schema(self) -> bytes:
        return self.text


def tells(schema: Schema | bytes = OURS, files: Manifest = OUR_FILES) -> Told:
    if isinstance(schema, bytes):
        told: Told = Encoded(CONFIG, ParameterOffers(SystemClock()))
        assert isinstance(told, Encoded)
        told.text = schema
    else:
        told = Told(CONFIG, ParameterOffers(SystemClock()))
        told.model_schema = schema
    told.manifest = encode_manifest(files)
    return told


def play(
    folder: Path, hers: Told, act: Callable[[Comparison], Awaitable[str | None]], *liars: Told
) -> str | None:
    """What we find out where she and, before her, liars answer."""

    async def run() -> str | None:
        async with (
            serve_members(HERS, folder / "hers", []) as host,
            serve_members(LIARS, folder / "liars", []) as liar,
            serve_joiners(host, [], described=hers) as joiners,
            serve_joiners(liar, [], described=liars[0] if liars else None) as lies,
            joiner_client() as client,
        ):
            doors = [liar.contact(lies.ports[0]), host.contact(joiners.ports[0])]
            return await act(Comparison(tells(), client, Doors(doors)))

    return asyncio.run(run())


def begin(
    folder: Path, hers: Told, head: LogHead, *liars: Told, ready: Ready | None = None
) -> None:
    async def act(comparison: Comparison) -> None:
        await require_same_beginning(head, CONFIG, ready, OUR_HASH, comparison)

    play(folder, hers, act, *liars)


def run_with(schema: SchemaHash = OUR_HASH, files: Manifest = OUR_FILES) -> LogHead:
    genesis = replace(HEAD.genesis, schema_hash=schema, data_manifest=BlobHash(files.digest))
    return replace(HEAD, genesis=genesis)


def ready(files: Manifest) -> Ready:
    roots = tuple(root.hex() for root in HEAD.genesis.param_roots)
    return Ready(
        device="cpu",
        precision="float32",
        parameters=1,
        schema_hash=OUR_HASH.hex(),
        data_manifest=files.digest.hex(),
        roots=roots,
        memory_bytes=1,
        seconds=1.0,
        data_files=encode_manifest(files).decode(),
    )


HASHES = f"schema mismatch: the run has {OTHER_HASH.hex()}, this software has {OUR_HASH.hex()}"


def test_the_first_field_that_differs_is_named_with_both_values(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        begin(tmp_path, tells(OTHER), run_with(OTHER_HASH))
    assert caught.value.cause == f"{HASHES}: config.qk_norm is True there, (none) here"
    assert "use the version of psyche-p2p that the run was begun with" in caught.value.cure


@pytest.mark.parametrize(
    "lie",
    [
        encode_schema({**OTHER, "config.qk_norm": "False"}),  # not what the run's hash names
        encode_schema(OTHER).replace(b"qk_norm", b"\x1b[2J"),
        b"\xff",
        b"",
    ],
    ids=["another", "control characters", "no text", "nothing"],
)
def test_a_schema_that_is_not_the_runs_is_not_believed(tmp_path: Path, lie: bytes) -> None:
    with pytest.raises(ModelError, match=r"config\.qk_norm is True there"):
        begin(tmp_path, tells(OTHER), run_with(OTHER_HASH), tells(lie))
    with pytest.raises(ModelError) as caught:
        begin(tmp_path, tells(lie), run_with(OTHER_HASH), tells(lie))
    assert caught.value.cause == HASHES


def test_what_only_looks_like_a_number_is_shown_as_it_is(tmp_path: Path) -> None:
    strange = {**OURS, "config.rope_theta": "f64:never"}
    with pytest.raises(ModelError, match=r"config\.rope_theta is f64:never there, 10000.0 here"):
        begin(tmp_path, tells(strange), run_with(schema_hash(strange)))


def test_the_file_that_differs_is_named(tmp_path: Path) -> None:
    begin(tmp_path, tells(), run_with(), ready=ready(OUR_FILES))
    head = run_with(files=OTHER_FILES)
    with pytest.raises(DataError, match=r"is not the run's \([0-9a-f]{16}\): abc.py differs: 3 b"):
        begin(tmp_path, tells(files=OTHER_FILES), head, tells(), ready=ready(OUR_FILES))


def test_a_witness_has_software_and_no_data(tmp_path: Path) -> None:
    begin(tmp_path, tells(), run_with(files=OTHER_FILES), ready=None)
    with pytest.raises(ModelError, match=r"config\.qk_norm"):
        begin(tmp_path, tells(OTHER), run_with(OTHER_HASH), ready=None)


@pytest.mark.parametrize(
    ("hers", "said", "expected"),
    [
        (tells(), OUR_HASH, ""),
        (tells(files=OTHER_FILES), OUR_HASH, "abc.py differs: 3 bytes of hash "),
        (
            tells(OTHER),
            OTHER_HASH,
            f"its schema is {OTHER_HASH.hex()}, ours {OUR_HASH.hex()}; config.qk_norm is True",
        ),
        (tells(), OTHER_HASH, f"its schema is {OTHER_HASH.hex()}, ours {OUR_HASH.hex()}"),
    ],
    ids=["the same", "data", "schema", "a schema that she does not show"],
)
def test_founders_who_differ_are_told_in_what(
    tmp_path: Path, hers: Told, said: SchemaHash, expected: str
) -> None:
    found = play(tmp_path, hers, lambda comparison: comparison.explain(HERS.peer, said))
    assert found is not None
    assert found.startswith(expected)
    assert bool(found) == bool(expected)

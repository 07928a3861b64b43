"""Reading documents: pieces follow from the input alone, and from any place one can go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.data import documents
from psyche_p2p.data.documents import Cursor, Piece, find_sources, read_pieces, split_text
from psyche_p2p.errors import DataError, StorageError


def pieces_of(*paths: Path, start: Cursor = Cursor(0, 0), field: str = "text") -> list[Piece]:  # noqa: B008
    return list(read_pieces(find_sources(paths), start, field))


def texts_of(pieces: list[Piece]) -> list[str]:
    """The documents, put together again."""
    found = [b""]
    for piece in pieces:
        found[-1] += piece.data
        if piece.ends_document:
            found.append(b"")
    assert found.pop() == b""
    return [data.decode() for data in found]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "PIECE_BYTES", 40)
    monkeypatch.setattr(documents, "_MAX_PIECE_BYTES", 100)


lines = st.text(st.sampled_from("ab ü€\n"), max_size=400)


@given(lines)
def test_pieces_are_the_text_and_whole_characters(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PIECE_BYTES", 8)
        patch.setattr(documents, "_MAX_PIECE_BYTES", 24)
        parts = list(split_text(text.encode()))
    assert "".join(part.decode() for part in parts) == text
    assert all(len(part) <= 24 for part in parts)


@pytest.mark.usefixtures("small_pieces")
def test_reading_can_begin_after_any_piece(tmp_path: Path) -> None:
    texts = ["ä" * 333, "words and lines\n" * 50, "", "x " * 90]
    (tmp_path / "a.txt").write_text(texts[0])
    (tmp_path / "b.txt").write_text(texts[1])
    (tmp_path / "c.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n\n" for text in texts)
    )
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"text": texts * 3})
    parquet.write_table(table, tmp_path / "d.parquet", row_group_size=5)
    whole = pieces_of(tmp_path)
    assert texts_of(whole) == [texts[0], texts[1], *texts, *texts * 3]
    places = 0
    for number, piece in enumerate(whole):
        if piece.after is not None:
            assert pieces_of(tmp_path, start=piece.after) == whole[number + 1 :]
            places += 1
    assert places > 30


def test_files_are_read_in_the_order_given_and_in_folders_in_that_of_names(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a.txt", "B.txt", "notes.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert texts_of(pieces_of(tmp_path)) == ["B.txt", "a.txt", "a/z.txt", "b.txt"]
    given_order = pieces_of(tmp_path / "b.txt", tmp_path / "notes.pdf")
    assert texts_of(given_order) == ["b.txt", "notes.pdf"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a"', "a.jsonl before byte 24: not a line of JSON"),
        ('{"body": "ab"}', "the record has no 'text', but 'body'; say which key"),
        ('{"text": 7}', "'text' is not text"),
        ('["text"]', "'text' is not text"),
        ("[" * 100_000, "not a line of JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text":"a"}\n' + line[:100_000])
    with pytest.raises(DataError, match=r"a\.jsonl before byte") as caught:
        pieces_of(tmp_path / "a.jsonl")
    assert message.split(": ", 1)[-1] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_wrong_column_is_named_with_what_there_is(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    parquet.write_table(pyarrow.table({"body": ["a"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"no column 'text' of text, but body \(string\), n \(int"):
        pieces_of(tmp_path / "a.parquet")
    assert texts_of(pieces_of(tmp_path / "a.parquet", field="body")) == ["a"]
    with pytest.raises(DataError, match="no column 'n' of text"):
        pieces_of(tmp_path / "a.parquet", field="n")


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no text; files in a folder end in \.txt"):
        find_sources([tmp_path])
    with pytest.raises(StorageError, match="No such file"):
        find_sources([tmp_path / "a.txt"])

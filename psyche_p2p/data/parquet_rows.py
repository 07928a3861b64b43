"""Reading parquet: columns of lists as arrays, and every failure with the file's name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psyche_p2p.data.optional import require_library
from psyche_p2p.errors import DataError

_ROWS_AT_ONCE = 256
_INPUT_NAMES = ("inputs", "input_ids")
_OTHER_NAMES = ("labels", "sequence_lengths", "position_ids")

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: its tokens, and what it says about them."""

    inputs: Numbers
    labels: Numbers | None
    sequence_lengths: Numbers | None
    position_ids: Numbers | None


def read_rows(mapped: memoryview, name: str) -> Iterator[Row]:
    """The rows of the very bytes that were hashed."""
    with parquet_errors(name):
        pyarrow = require_library("pyarrow", "parquet")
        parquet = require_library("pyarrow.parquet", "parquet")
        with parquet.ParquetFile(pyarrow.BufferReader(pyarrow.py_buffer(mapped))) as file:
            inputs, others = _choose_columns(file.schema_arrow, name)
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[inputs, *others]):
                lists = {column: list(_lists(batch.column(column), name)) for column in others}
                for number, tokens in enumerate(_lists(batch.column(inputs), name)):
                    extra = {column: rows[number] for column, rows in lists.items()}
                    yield Row(tokens, *(extra.get(column) for column in _OTHER_NAMES))


def _choose_columns(schema: Any, name: str) -> tuple[str, list[str]]:
    """The columns to read; a DataError that lists what there is if there are no tokens."""
    found = {column.name: column.type for column in schema}
    inputs = next((column for column in _INPUT_NAMES if column in found), "")
    others = [column for column in _OTHER_NAMES if column in found]
    if not inputs:
        listed = ", ".join(f"{column} ({kind})" for column, kind in found.items())
        cure = "it must have a column inputs of token ids; make tokens of text with data prepare"
        raise DataError(f"{name} has no column inputs, but {listed}"[:300], cure)
    types = require_library("pyarrow.types", "parquet")
    for column in (inputs, *others):
        kind = found[column]
        lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
        if not any(is_kind(kind) for is_kind in lists) or not types.is_integer(kind.value_type):
            cause = f"{name}: column {column} holds {kind}, not lists of whole numbers"
            raise DataError(cause, "write it again with a list of token ids in every row")
    return inputs, others


def _lists(column: Any, name: str) -> Iterator[Numbers]:
    """The rows of a column of lists."""
    compute = require_library("pyarrow.compute", "parquet")
    values = column.flatten()
    if column.null_count or values.null_count:
        raise DataError(f"{name} has rows with nothing in them (null)", "remove those rows")
    numbers = values.to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum(compute.list_value_length(column).to_numpy(zero_copy_only=False))
    yield from np.split(numbers, ends[:-1].astype(np.int64)) if len(ends) else ()


def describe_parquet(path: Path) -> dict[str, Any]:
    """What a parquet file holds, for people; only its footer is read."""
    with parquet_errors(path.name):
        parquet = require_library("pyarrow.parquet", "parquet")
        with parquet.ParquetFile(path) as file:
            columns = {column.name: str(column.type) for column in file.schema_arrow}
            return {
                "rows": file.metadata.num_rows,
                "row_groups": file.num_row_groups,
                "size_bytes": path.stat().st_size,
                "columns": columns,
            }


@contextmanager
def parquet_errors(name: str) -> Iterator[None]:
    """The library's errors in our words."""
    pyarrow = require_library("pyarrow", "parquet")
    try:
        yield
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        cause = f"{name} cannot be read as parquet: {reason}"
        raise DataError(cause, "copy or write it again") from error

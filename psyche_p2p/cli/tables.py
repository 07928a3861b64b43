"""A report as tables: coloured in a terminal, plain aligned text in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table; columns that begin with `>` are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def print_sheets(sheets: Sequence[Sheet], stream: TextIO) -> None:
    """Print tables one below the other."""
    if stream.isatty():
        console = Console(file=stream)
        for sheet in sheets:
            console.print(_rich_table(sheet))
        return
    stream.write("\n".join(_plain(sheet) for sheet in sheets))


def _rich_table(sheet: Sheet) -> Table:
    table = Table(title=escape(sheet.title), title_justify="left", title_style="bold")
    for column in sheet.columns:
        table.add_column(
            escape(column.lstrip(">")), justify="right" if _is_right(column) else "left"
        )
    for row in sheet.rows:
        table.add_row(*map(escape, row))
    return table


def _plain(sheet: Sheet) -> str:
    table = [[column.lstrip(">") for column in sheet.columns], *sheet.rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [f"{sheet.title}:"]
    for row in table if any(table[0]) else table[1:]:
        cells = [
            cell.rjust(width) if _is_right(column) else cell.ljust(width)
            for cell, width, column in zip(row, widths, sheet.columns, strict=True)
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _is_right(column: str) -> bool:
    return column.startswith(">")

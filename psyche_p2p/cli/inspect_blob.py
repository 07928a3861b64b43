"""`tools/inspect-blob`: what is in a blob, whether it is valid, and how two of them differ."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from psyche_p2p.blobs import Expectation, Update, read_layout, read_update
from psyche_p2p.cli.blob_report import (
    Report,
    describe_blob,
    describe_difference,
    to_json,
    validate_source,
)
from psyche_p2p.cli.blob_sheets import blob_sheets, difference_sheets, fit_sheets
from psyche_p2p.cli.blob_source import BlobSource, open_source
from psyche_p2p.cli.tables import Sheet, print_sheets
from psyche_p2p.errors import ExitCode
from psyche_p2p.wire import BlobKind

_LARGEST_BYTES = 1 << 40


@click.command(
    "inspect-blob",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Examples: tools/inspect-blob 4f1c09ab --json;  tools/inspect-blob --diff a.blob b.blob",
)
@click.argument("blob", metavar="HASH|FILE", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--diff", nargs=2, metavar="A B", help="Compare two updates instead.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="CHECKPOINT",
    help="Also say whether the tensors fit this checkpoint.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also draw an update's energy by frequency and live chunks by layer (.png, .svg).",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where to look for a hash: a store, or a folder with stores below it.",
)
def inspect_blob(
    blob: str | None,
    as_json: bool,
    diff: tuple[str, str] | None,
    against: Path | None,
    plot: Path | None,
    store: Path,
) -> int:
    """Show the blob in FILE, or the one whose hash begins with HASH.

    Header, sections, and for each tensor: shape and slice, chunks and how many are live, the
    coefficients sent, bits for each and their ratio to the entropy bound, votes by sign, norm.

    Exit code 0: valid. 11: not a valid blob, or it does not fit the checkpoint; the reasons are
    shown. 5: not found, or it cannot be read.
    """
    if (blob is None) == (diff is None):
        raise click.UsageError("give a blob, or two with --diff")
    if diff is not None:
        if against is not None or plot is not None:
            raise click.UsageError("--against and --plot are for one blob")
        return _show_difference(open_source(diff[0], store), open_source(diff[1], store), as_json)
    return _show_blob(open_source(str(blob), store), against, plot, as_json)


def _show_blob(source: BlobSource, against: Path | None, plot: Path | None, as_json: bool) -> int:
    reasons = validate_source(source, Expectation.of_anything(_LARGEST_BYTES))
    report = describe_blob(source, reasons)
    sheets = list(blob_sheets(report))
    is_good = not reasons
    if against is not None and "header" in report:
        report["fit"] = _describe_fit(source, against)
        sheets += fit_sheets(report["fit"])
        is_good = is_good and report["fit"]["fits"]
    _print(report, sheets, as_json)
    if plot is not None and not reasons:
        _plot(_require_update(source), plot)
    return ExitCode.OK if is_good else ExitCode.INVALID


def _show_difference(first: BlobSource, second: BlobSource, as_json: bool) -> int:
    for source in (first, second):
        reasons = validate_source(source, Expectation.of_anything(_LARGEST_BYTES))
        if reasons:
            report = describe_blob(source, reasons)
            _print(report, blob_sheets(report), as_json)
            return ExitCode.INVALID
    report = describe_difference(_require_update(first), _require_update(second))
    _print(report, difference_sheets(report), as_json)
    return ExitCode.OK


def _require_update(source: BlobSource) -> Update:
    view = read_layout(source.data)
    if view.header.kind is not BlobKind.UPDATE:
        kind = view.header.kind.name.lower()
        raise click.UsageError(f"{source.name} is of kind {kind}, this needs an update")
    return read_update(view)


def _print(report: Report, sheets: Iterable[Sheet], as_json: bool) -> None:
    if as_json:
        click.echo(to_json(report))
    else:
        print_sheets(list(sheets), sys.stdout)


def _plot(update: Update, path: Path) -> None:
    from psyche_p2p.cli.blob_plot import plot_update

    plot_update(update, path)
    click.echo(f"drew {path}", err=True)


def _describe_fit(source: BlobSource, checkpoint: Path) -> Report:
    from psyche_p2p.cli.blob_fit import describe_fit  # brings torch

    return describe_fit(read_layout(source.data).header, checkpoint)

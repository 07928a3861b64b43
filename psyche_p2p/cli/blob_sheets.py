"""The reports of `inspect-blob` laid out as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psyche_p2p.cli.blob_report import Report
from psyche_p2p.cli.tables import Sheet

_UPDATE_COLUMNS = (
    "tensor",
    "shape",
    "slice",
    ">chunks",
    ">live",
    ">sent",
    ">bits each",
    ">of bound",
    ">+",
    ">-",
    ">norm",
)
_DENSE_COLUMNS = ("tensor", ">shape", "dtype", ">bytes", ">least", ">greatest", ">norm")
_OVERLAP_COLUMNS = ("tensor", ">in both", ">only A", ">only B", ">overlap", ">same sign")


def blob_sheets(report: Report) -> Iterator[Sheet]:
    """One blob."""
    verdict = [("valid", "yes" if report["valid"] else "NO")]
    reasons = [("reason", reason["detail"]) for reason in report["reasons"]]
    about = [(name, str(report[name])) for name in ("source", "hash", "size_bytes", "chunks")]
    yield Sheet("blob", ("", ""), (*about, *verdict, *reasons))
    if "header" not in report:
        return
    fields = tuple((name, _show(value)) for name, value in report["header"].items())
    yield Sheet("header", ("", ""), fields)
    sections = tuple((each["name"], str(each["size_bytes"])) for each in report["sections"])
    yield Sheet("sections", ("section", ">bytes"), sections)
    if "targets" in report:
        numbers = tuple((name, _show(value)) for name, value in report["targets"].items())
        yield Sheet("targets", ("", ""), numbers)
    if "totals" in report:
        rows = tuple(_update_row(tensor) for tensor in report["tensors"])
        total = ("total", "", "", *_counts(report["totals"]))
        yield Sheet("tensors", _UPDATE_COLUMNS, (*rows, total))
    elif "tensors" in report:
        yield Sheet("tensors", _DENSE_COLUMNS, tuple(map(_dense_row, report["tensors"])))


def difference_sheets(report: Report) -> Iterator[Sheet]:
    """Two updates side by side."""
    rows = [_overlap_row(tensor["name"], tensor) for tensor in report["tensors"]]
    total = _overlap_row("total", report["total"])
    yield Sheet("difference of A and B", _OVERLAP_COLUMNS, (*rows, total))
    if report["not_compared"]:
        names = tuple((name,) for name in report["not_compared"])
        yield Sheet("not in both, or cut into other chunks", ("tensor",), names)


def fit_sheets(report: Report) -> Iterator[Sheet]:
    """A blob against a checkpoint."""
    verdict = "fits" if report["fits"] else "DOES NOT FIT"
    schema = "the same" if report["same_schema"] else "ANOTHER MODEL'S"
    about = (
        ("checkpoint", report["checkpoint"]),
        ("holds tier", str(report["checkpoint_tier"])),
        ("schema", schema),
        ("verdict", verdict),
    )
    yield Sheet("against a checkpoint", ("", ""), about)
    rows = tuple((tensor["name"], tensor["fits"]) for tensor in report["tensors"])
    yield Sheet("tensors against the model", ("tensor", "fit"), rows)
    if report["not_in_blob"]:
        names = tuple((name,) for name in report["not_in_blob"])
        yield Sheet("only in the model", ("tensor",), names)


def _update_row(tensor: Report) -> tuple[str, ...]:
    return (tensor["name"], _shape(tensor["shape"]), tensor["slice"], *_counts(tensor))


def _counts(numbers: Report) -> tuple[str, ...]:
    """What a tensor and the total have in common."""
    return (
        str(numbers["chunks"]),
        f"{numbers['live_share']:.1%}",
        str(numbers["entries"]),
        f"{numbers['bits_per_entry']:.2f}",
        f"{numbers['bound_ratio']:.3f}",
        str(numbers["positive"]),
        str(numbers["negative"]),
        f"{numbers['norm']:.4g}",
    )


def _dense_row(tensor: Report) -> tuple[str, ...]:
    numbers = (tensor["least"], tensor["greatest"], tensor["norm"])
    about = (tensor["name"], _shape(tensor["shape"]), tensor["dtype"], str(tensor["size_bytes"]))
    return (*about, *(f"{number:.4g}" for number in numbers))


def _overlap_row(name: str, overlap: Report) -> tuple[str, ...]:
    counts = (overlap["common"], overlap["only_first"], overlap["only_second"])
    shares = (overlap["overlap"], overlap["sign_agreement"])
    return (name, *map(str, counts), *(f"{share:.1%}" for share in shares))


def _shape(shape: Any) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _show(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)

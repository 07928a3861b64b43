"""The picture of `inspect-blob --plot`: energy by frequency, and live chunks by layer."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from psyche_p2p.blobs import Transform, Update
from psyche_p2p.blobs.summary import TensorSummary, energy_by_frequency, summarise_update
from psyche_p2p.errors import ResourceError
from psyche_p2p.files import storage_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|h)\.(\d+)\.")


def plot_update(update: Update, path: Path) -> None:
    """Draw an update into a file, of the kind that its ending names."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        cure = "install it with: pip install 'psyche-p2p[plot]'"
        raise ResourceError("pictures need matplotlib, which is not here", cure) from error
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    heat, curve, layers = figure.subplots(1, 3)
    energy = energy_by_frequency(update)
    _draw_energy(heat, energy, update.transform)
    _draw_curve(curve, energy)
    _draw_layers(layers, summarise_update(update))
    header = update.header
    figure.suptitle(f"round {header.round}, batch {header.batch}, tier {header.tier}")
    try:
        figure.savefig(path)
    except OSError as error:
        raise storage_error("cannot write", path, error) from error
    except ValueError as error:
        raise ResourceError(
            f"cannot draw {str(path)!r}: {error}", "name it .png or .svg"
        ) from error


def live_by_layer(summaries: Sequence[TensorSummary]) -> list[tuple[str, float]]:
    """The share of live chunks in every layer, in order, then in all that is in no layer."""
    live: dict[int, int] = defaultdict(int)
    chunks: dict[int, int] = defaultdict(int)
    for summary in summaries:
        layer = _layer_of(summary.name)
        live[layer] += summary.live
        chunks[layer] += summary.chunks
    numbered = sorted(layer for layer in chunks if layer >= 0)
    ordered = [*numbered, -1] if -1 in chunks else numbered
    return [
        (str(layer) if layer >= 0 else "rest", live[layer] / chunks[layer]) for layer in ordered
    ]


def energy_curve(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean energy of the places at each row plus column, from low frequency to high."""
    rows, columns = np.indices(energy.shape)
    distance = (rows + columns).reshape(-1)
    total = np.bincount(distance, weights=energy.reshape(-1))
    return (total / np.bincount(distance)).astype(np.float64)


def _layer_of(name: str) -> int:
    match = _LAYER.search(name)
    return int(match.group(1)) if match else -1


def _draw_energy(axes: Axes, energy: NDArray[np.float64], transform: Transform) -> None:
    image = axes.imshow(np.log10(1 + energy), cmap="viridis", origin="upper")
    axes.figure.colorbar(image, ax=axes, label="log10(1 + energy)")
    what = "frequency" if transform is Transform.DCT else "place"
    rows, columns = energy.shape
    axes.set(title=f"energy by {what}, {rows} x {columns} chunks", xlabel="column", ylabel="row")


def _draw_curve(axes: Axes, energy: NDArray[np.float64]) -> None:
    axes.plot(energy_curve(energy))
    axes.set(title="from low to high", xlabel="row + column", ylabel="mean energy", ylim=(0, None))


def _draw_layers(axes: Axes, summaries: Sequence[TensorSummary]) -> None:
    names, shares = zip(*live_by_layer(summaries), strict=True)
    axes.bar(names, [100 * share for share in shares])
    axes.set(title="live chunks by layer", xlabel="layer", ylabel="%", ylim=(0, 100))

"""Pictures for the page, each a string that holds all of it: SVG as it is, PNG as a data address."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcodec.evaluate.metrics import Signal
from xcodec.evaluate.metrics.signal import spectrogram


@dataclass(frozen=True)
class Point:
    """A codec on a rate–quality curve."""

    label: str
    kbps: float
    value: float
    low: float
    high: float


def rate_curve(title: str, points: Sequence[Point], anchor: float | None) -> str:
    """SVG: quality over bitrate, a line for each codec that comes at several; the original's value as a dashed one."""
    figure, axes = _axes(title, "kbps")
    for name in dict.fromkeys(point.label.rpartition("@")[0] for point in points):
        own = sorted((p for p in points if p.label.rpartition("@")[0] == name), key=lambda p: p.kbps)
        middle = np.array([p.value for p in own])
        # A bootstrap interval nearly always holds the mean; where it does not, there is no bar below zero length.
        errors = np.maximum(0, [middle - [p.low for p in own], [p.high for p in own] - middle])
        axes.errorbar([p.kbps for p in own], middle, yerr=errors, marker="o", capsize=3, label=name)
    if anchor is not None:
        axes.axhline(anchor, linestyle="--", color="gray", label="original")
    axes.set_xscale("log")
    ticks = sorted({float(f"{p.kbps:.2g}") for p in points})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    return _svg(figure)


def bars(title: str, unit: str, groups: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> str:
    """SVG: for each group, a bar of each series; what has no value has no bar."""
    figure, axes = _axes(title, "")
    width = 0.8 / max(1, len(series))
    for index, (name, values) in enumerate(series.items()):
        places = [place + (index - (len(series) - 1) / 2) * width for place in range(len(groups))]
        known = [(place, value) for place, value in zip(places, values, strict=True) if value is not None]
        axes.bar([place for place, _ in known], [value for _, value in known], width, label=name)
    axes.set_xticks(range(len(groups)), [group.replace(" ", "\n") for group in groups], fontsize=8)
    axes.set_ylabel(unit)
    axes.legend(fontsize=7)
    return _svg(figure)


def spectrogram_png(signal: Signal) -> str:
    """Data address of a picture of audio `[T]` at 16 kHz: 0 to 8 kHz upwards, 80 dB deep."""
    magnitudes = 20 * np.log10(np.maximum(spectrogram(signal, 512, 128), 1e-5))
    top = 20 * np.log10(512 / 8)  # a loud voice; the same for all pictures, so that loudness can be compared
    image = np.clip((magnitudes - (top - 80)) / 80, 0, 1)
    step = max(1, image.shape[1] // 320)
    return _png(image[::-1, ::step][::2], "magma", 24)


def token_png(codes: NDArray[Any], codebook_size: int) -> str:
    """Data address of a picture of codes `[K, F]`: a row for each codebook, coarsest on top; a colour for each code."""
    # Neighbouring numbers mean nothing to each other, so their colours are spread.
    spread = (codes.astype(np.int64) * 617) % codebook_size / codebook_size
    return _png(np.repeat(spread, 6, axis=0), "nipy_spectral", 256)


def _axes(title: str, below: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # without pyplot, which keeps figures and looks for a screen

    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(below)
    axes.grid(alpha=0.3)
    return figure, axes


def _svg(figure: Any) -> str:
    file = io.StringIO()
    # Neither date nor random names, so that the same results give the same page.
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "xcodec"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return data_address(file.getvalue().encode(), "image/svg+xml")


def _png(image: NDArray[Any], colours: str, levels: int) -> str:
    """An image of numbers from 0 to 1 in so many colours: with a palette, it is a fifth of the size of true colours."""
    from matplotlib import colormaps
    from PIL import Image

    steps = np.clip(image * levels, 0, levels - 1).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(steps))
    picture.putpalette((255 * colormaps[colours](np.linspace(0, 1, levels))[:, :3]).astype(np.uint8).tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return data_address(file.getvalue(), "image/png")


def data_address(content: bytes, kind: str) -> str:
    """What goes where an address goes, with all that is behind it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

"""Results as JSON, as tables and as a picture."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.engines.agreement import Agreement
from benchmarks.engines.codecs import REFERENCES
from benchmarks.engines.length import LengthCost
from benchmarks.engines.measure import Timing
from xcodec.engine.fast import Abilities, abilities
from xcodec.utils.files import atomic_write


@dataclass
class Results:
    """All that one run found out."""

    machine: dict[str, Any]
    peak_flops: dict[int, float] = field(default_factory=dict)
    """Per second of processor time, by threads."""
    flops: dict[str, dict[str, float]] = field(default_factory=dict)
    """Per second of audio, by candidate and task."""
    timings: list[Timing] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    windows: list[Agreement] = field(default_factory=list)
    look_aheads: list[Agreement] = field(default_factory=list)
    lengths: list[LengthCost] = field(default_factory=list)


def machine() -> dict[str, Any]:
    """What the results were measured on."""
    able = abilities(torch.device("cpu"))
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fast": "our own kernels" if able.kernels else _described(able),
    }


def _described(able: Abilities) -> str:
    convolutions = str(able.convolutions).removeprefix("torch.")
    return f"{convolutions} convolutions, {'int8' if able.int8 else 'plain'} linear layers"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write(results: Results, folder: Path) -> None:
    """`bench.json`, `bench.md` and, with matplotlib, `bench.png` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("bench.json", json.dumps(dataclasses.asdict(results), indent=1)),
        ("bench.md", as_text(results)),
    ):
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text + "\n")
    if results.timings:
        _plot(results.timings, folder / "bench.png")


def as_text(results: Results) -> str:
    """All tables, in Markdown."""
    parts = [", ".join(f"{name} {value}" for name, value in results.machine.items())]
    if results.timings:
        parts.append(_timing_table(results))
    if results.agreements:
        parts.append(_agreement_table("engine", results.agreements))
    if results.windows:
        parts.append(_agreement_table("window, context", results.windows))
    if results.look_aheads:
        parts.append(_agreement_table("look-ahead", results.look_aheads))
    if results.lengths:
        parts.append(_length_table(results.lengths))
    return "\n\n".join(parts)


def _timing_table(results: Results) -> str:
    lines = [
        "| codec | task | clip | batch | threads | × real time | processor s/s | share of peak | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in results.timings:
        lines.append(
            f"| {each.name} | {each.task} | {each.seconds:g} s | {each.batch} | {each.threads} | "
            f"{each.real_time:.1f} | {each.processor:.4f} | {_share(results, each)} | {_ratio(results, each)} |"
        )
    against = "; ".join(f"{ours} against {theirs}" for ours, theirs in REFERENCES.items())
    return "\n".join([*lines, "", f"Ratios are of processor time: {against}."])


def _share(results: Results, timing: Timing) -> str:
    flops, peak = results.flops.get(timing.name), results.peak_flops.get(timing.threads)
    return f"{flops[timing.task] / timing.processor / peak:.0%}" if flops and peak else ""


def _ratio(results: Results, timing: Timing) -> str:
    reference = REFERENCES.get(timing.name)
    for other in results.timings:
        same = (other.task, other.seconds, other.batch, other.threads)
        if other.name == reference and same == (timing.task, timing.seconds, timing.batch, timing.threads):
            return f"{other.processor / timing.processor:.2f}"
    return ""


def _agreement_table(title: str, agreements: list[Agreement]) -> str:
    lines = [
        f"| {title} | against | equal codes, codebook by codebook | different | SNR |",
        "|---|---|---|---|---|",
    ]
    for each in agreements:
        codes = " ".join(f"{share:.1%}" for share in each.equal_codes)
        different, snr = f"{each.different:,} of {each.codes:,}", "" if each.snr is None else f"{each.snr:.0f} dB"
        lines.append(f"| {each.name} | {each.reference} | {codes} | {different} | {snr} |")
    return "\n".join(lines)


def _length_table(lengths: list[LengthCost]) -> str:
    lines = ["| command | file | wall | processor | peak memory |", "|---|---|---|---|---|"]
    for each in lengths:
        lines.append(
            f"| {each.task} | {each.minutes:g} min | {each.wall:.0f} s | {each.processor:.0f} s | "
            f"{each.peak_bytes / 1e6:.0f} MB |"
        )
    return "\n".join(lines)


def _plot(timings: list[Timing], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return  # a picture needs the extra `evaluate`; the numbers do not
    figure = Figure(figsize=(10, 5), layout="constrained")
    shown = max(timings, key=lambda each: (each.seconds == 10, each.batch == 1, each.threads))
    for axis, task in zip(figure.subplots(1, 2, sharey=True), ("encode", "decode"), strict=True):
        rows = [
            each
            for each in timings
            if (each.task, each.seconds, each.batch, each.threads) == (task, shown.seconds, shown.batch, shown.threads)
        ]
        axis.barh([each.name for each in rows], [each.real_time for each in rows])
        axis.set(xscale="log", title=task, xlabel="times as fast as real time")
    figure.suptitle(f"clips of {shown.seconds:g} s, batch {shown.batch}, {shown.threads} threads")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")

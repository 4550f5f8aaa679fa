"""Hear and see the codec: one real recording of speech at every bandwidth of a model.

    python examples/demo.py                    the shipped model on a shipped recording
    python examples/demo.py my.wav --model M   any other

Prints a table, and writes the audio, the token files and a picture of the spectrograms into `out/demo/`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from pesq import pesq
from pystoi import stoi
from rich.console import Console
from rich.table import Table

import xcodec
from xcodec import audio
from xcodec.inference.files import FileCodec

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "samples" / "english-please-stay-on-the-line.flac"
FOLDER = ROOT / "out" / "demo"

Sound = NDArray[np.float32]  # [T]


@dataclass
class Result:
    """The recording at one bandwidth."""

    kbps: float
    sound: Sound
    file_bytes: int
    encode_seconds: float
    decode_seconds: float


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description="One real recording of speech at every bandwidth of a model.")
    parser.add_argument("recording", nargs="?", type=Path, default=RECORDING)
    parser.add_argument("--model", help="name, folder or .pth; by default the shipped xcodec-mini")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write")
    options = parser.parse_args()

    codec = xcodec.load(options.model)
    sounds, rate = audio.read(options.recording, codec.sample_rate)
    options.folder.mkdir(parents=True, exist_ok=True)
    original = options.folder / "original.wav"
    audio.write(original, sounds, rate)

    results = [through_files(codec, kbps, original) for kbps in codec.bandwidths]
    title = f"{codec.config.name} on {options.recording.name}, {sounds.shape[1] / rate:.1f} s"
    print_table(title, sounds[0], rate, results)
    draw_spectrograms(options.folder / "spectrograms.png", title, sounds[0], rate, results)
    print(f"To listen to and look at: {options.folder}")


def through_files(codec: xcodec.Codec, kbps: float, original: Path) -> Result:
    """Encode the recording into a file of tokens, and decode that."""
    files = FileCodec(codec, kbps)
    tokens = original.with_name(f"{kbps:g}kbps.xc")
    decoded = tokens.with_suffix(".wav")
    encode_seconds = shortest_time(lambda: files.encode(original, tokens))
    decode_seconds = shortest_time(lambda: files.decode(tokens, decoded))
    sounds, _ = audio.read(decoded)
    return Result(kbps, sounds[0], tokens.stat().st_size, encode_seconds, decode_seconds)


def shortest_time(action: Callable[[], object], repeats: int = 3) -> float:
    """Seconds that the fastest of some runs takes; the first ones warm up."""
    durations = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        durations.append(time.perf_counter() - begin)
    return min(durations)


def print_table(title: str, original: Sound, rate: int, results: list[Result]) -> None:
    """One row per bandwidth: what it costs, how it sounds, how fast it is."""
    table = Table(title=title, caption=f"Speed: times real time, on {torch.get_num_threads()} CPU threads")
    for heading in ("kbps", "bytes", "kbps on disk", "STOI", "PESQ-WB", "encode", "decode"):
        table.add_column(heading, justify="right")
    seconds = len(original) / rate
    for result in results:
        table.add_row(
            f"{result.kbps:g}",
            f"{result.file_bytes:,}",
            f"{result.file_bytes * 8 / seconds / 1000:.2f}",
            f"{stoi(original, result.sound, rate):.3f}",
            f"{wideband_pesq(original, result.sound, rate):.2f}",
            f"{seconds / result.encode_seconds:.0f}x",
            f"{seconds / result.decode_seconds:.0f}x",
        )
    Console(width=90).print(table)


def wideband_pesq(original: Sound, decoded: Sound, rate: int) -> float:
    """PESQ-WB (ITU-T P.862.2), 1.04 to 4.64, which is defined at 16 kHz."""
    at_16_khz = [audio.resample(sound[np.newaxis], rate, 16_000)[0] for sound in (original, decoded)]
    return float(pesq(16_000, *at_16_khz, "wb"))


def draw_spectrograms(path: Path, title: str, original: Sound, rate: int, results: list[Result]) -> None:
    """The original and every bandwidth, side by side on one scale."""
    matplotlib.use("Agg")  # draws into files, and needs no screen
    from matplotlib import pyplot

    panels = [("original", original), *((f"{result.kbps:g} kbps", result.sound) for result in reversed(results))]
    columns = -(-len(panels) // 2)
    figure, axes = pyplot.subplots(2, columns, figsize=(5 * columns, 7), sharex=True, sharey=True, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (name, sound) in zip(axes.flat, panels, strict=False):
        with np.errstate(divide="ignore"):  # silence is -inf dB, which is drawn as the darkest
            axis.specgram(sound, NFFT=512, Fs=rate, noverlap=384, cmap="magma", vmin=-130, vmax=-40)
        axis.set_title(name)
    figure.supxlabel("seconds")
    figure.supylabel("Hz")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


if __name__ == "__main__":
    main()

"""Measure speed and agreement of the engines here, beside other codecs.

python -m benchmarks.engines out/bench --audio samples --minutes 10 --minutes 180
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.engines.report import as_text
from benchmarks.engines.run import bench


def main(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="For bench.json, bench.md and bench.png.")],
    only: Annotated[
        list[str] | None, typer.Option(help="What to compare: xcodec-mini, X-Codec, EnCodec, DAC, Mimi.")
    ] = None,
    seconds: Annotated[list[float] | None, typer.Option(help="Length of clips.", show_default="1, 10, 60")] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Clips at a time.", show_default="1, 8")] = None,
    threads: Annotated[list[int] | None, typer.Option(min=1, help="To use.", show_default="1, all")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Turns of each, of which the median counts.")] = 5,
    audio: Annotated[Path | None, typer.Option(help="Recordings to compare engines on.", show_default="noise")] = None,
    minutes: Annotated[
        list[float] | None, typer.Option(help="Length of files to encode and decode.", show_default="none")
    ] = None,
    compare: Annotated[bool, typer.Option(help="Also the engines' codes and audio, windows and look-ahead.")] = True,
) -> None:
    """Measure speed and agreement of the engines here, beside other codecs."""
    found = bench(
        folder,
        only,
        seconds or (1, 10, 60),
        batch or (1, 8),
        threads,
        repeats,
        audio,
        minutes or (),
        compare,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(as_text(found))


if __name__ == "__main__":
    typer.run(main)

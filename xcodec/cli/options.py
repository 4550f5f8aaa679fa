"""Options that several subcommands share."""

from typing import Annotated, Literal

import typer

Model = Annotated[
    str | None, typer.Option(help="A name, a folder or an official .pth file.", show_default="xcodec-mini")
]
Bandwidth = Annotated[
    float | None, typer.Option("--bandwidth", "-b", help="In kbps per channel.", show_default="the highest")
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")]
Engine = Annotated[
    Literal["exact", "fast"], typer.Option(help="fast: as fast as this processor can, with nearly the same result.")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Files at a time, each in its own process.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per file, on a line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]

"""The command line. Here is what several subcommands share: their options, and the progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def progress_bar(title: str, visible: bool, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Gives ``show(done, total=None)``: how much is done, with parts of a whole, and of how much, where that changes.

    Args:
        title: before the bar.
        visible: False shows nothing, as when nobody is at a terminal.
        total: of how much, if that is known.
    """
    if not visible:
        yield lambda done, total=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done, total=None: bar.update(task, completed=done, total=total)

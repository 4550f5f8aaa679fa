"""A bar that shows how far work is, and is gone when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


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

"""What a tab is given: recordings within limits, codecs that are loaded once, and errors in one line."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xcodec import audio
from xcodec.engine.engine import Codec, Engine, load
from xcodec.utils.errors import one_line

Wav = NDArray[np.float32]
"""One channel `[T]`."""

LONGEST_SECONDS = 120.0
LARGEST_BYTES = 100_000_000
CORES = os.cpu_count() or 1
JOB: dict[str, Any] = {"concurrency_id": "jobs", "concurrency_limit": CORES, "api_visibility": "private"}
"""Of every event that computes: one job per core, the others wait."""
KEPT = 3
"""Codecs in memory."""
SAMPLES = Path(__file__).parents[2] / "samples"
"""In a checkout."""


class AppError(ValueError):
    """What cannot be done with what was given, in one line."""


def samples() -> dict[str, str]:
    """Recordings to try: names and paths; none where the package was installed without them."""
    return {path.stem.replace("-", " "): str(path) for path in sorted(SAMPLES.glob("*.flac"))}


def sound_input(tab: str, label: str = "A recording", offered: Mapping[str, str] | None = None) -> Any:
    """A file, which the microphone and what is offered (names and paths) put theirs into: what came last counts."""
    import gradio as gr

    file = gr.File(label=label, type="filepath", height=172, elem_id=f"{tab}-file")
    microphone = gr.Audio(
        sources=["microphone"], type="filepath", label="Microphone", buttons=[], elem_id=f"{tab}-microphone"
    )
    put: dict[str, Any] = {"outputs": file, "show_progress": "hidden", "api_visibility": "private"}
    microphone.change(lambda path: path or gr.skip(), microphone, **put)
    if offered := samples() if offered is None else offered:
        choice = gr.Dropdown(list(offered.items()), value=None, label="Or one of these", elem_id=f"{tab}-sample")
        choice.input(lambda path: path or gr.skip(), choice, **put)
    return file


def chosen(path: str | None) -> Path:
    """The recording that was given.

    Raises:
        AppError: none was.
    """
    if not path:
        raise AppError("There is no sound yet: open a file, record, or take a sample.")
    return Path(path)


def read_clip(path: Path, sample_rate: int, longest: float = LONGEST_SECONDS) -> Wav:
    """A recording, mixed to one channel.

    Raises:
        AppError: it is empty, too large or too long.
        AudioError: it holds no intact audio.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size == 0:
        raise AppError(f"{path.name} is empty.")
    if size > LARGEST_BYTES:
        raise AppError(f"{path.name} is larger than {LARGEST_BYTES // 1_000_000} MB.")
    pieces: list[Wav] = []
    for piece in audio.stream(path, sample_rate):  # an hour is noticed before all of it is read
        pieces.append(piece[0])
        if sum(map(len, pieces)) > longest * sample_rate:
            raise AppError(f"{path.name} is longer than {longest:g} s.")
    return np.concatenate(pieces)


@functools.lru_cache(KEPT)
def _loaded(model: str, engine: Engine) -> Codec:
    return load(model, engine=engine)


_loading = threading.Lock()


def codec_of(model: str, engine: str = "exact") -> Codec:
    """A codec by name or folder; it stays loaded.

    Raises:
        CheckpointError: there is no such model.
        ValueError: there is no such engine.
    """
    with _loading:
        return _loaded(model.strip() or "xcodec-mini", engine)


@contextmanager
def errors_shown() -> Iterator[None]:
    """Errors that a user can cause are shown on the page, in one line; also decorates an event."""
    import gradio

    try:
        yield
    except (ValueError, OSError) as error:
        uploads = re.escape(os.environ.get("GRADIO_TEMP_DIR", ""))  # people know the file by its name
        text = re.sub(rf"{uploads}/(\w+/)?", "", one_line(error)) if uploads else one_line(error)
        raise gradio.Error(text, title="That did not work", print_exception=False) from error

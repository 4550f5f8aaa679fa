"""The tabs Speak, Continue and Sound: language models, whose audio plays while it is made."""

from __future__ import annotations

import asyncio
import functools
import secrets
import struct
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from xcodec.app import html
from xcodec.app.clips import JOB, AppError, Wav, chosen, codec_of, errors_shown, sound_input
from xcodec.generate.codec_io import ASSETS, decode_stream
from xcodec.generate.music_and_sound import MusicGenerator, MusicOptions, SoundGenerator, SoundOptions
from xcodec.generate.speech import TextToSpeech
from xcodec.inference.batch import TOKEN_SUFFIX

LONGEST_TEXT = 1000
"""Characters."""
LONGEST_SECONDS = 60.0
KEPT = 8
"""Streams that can be asked for."""


class Stream:
    """Audio that is played while it is made: pieces in from a job, a WAV file of unknown length out to players."""

    def __init__(self, sample_rate: int) -> None:
        self._pieces, self.ended = [_endless_header(sample_rate)], False

    def put(self, wav: Wav) -> None:
        """More of it."""
        self._pieces.append((32767 * np.clip(wav, -1, 1)).astype("<i2").tobytes())

    async def read(self) -> AsyncIterator[bytes]:
        """From the beginning on, as it comes; a browser may ask more than once."""
        sent, ended = 0, False
        while not ended:
            ended = self.ended  # before what has come is sent: nothing is missed
            for piece in self._pieces[sent:]:
                yield piece
                sent += 1
            await asyncio.sleep(0.02)


class Streams:
    """The newest streams, by keys that nobody guesses."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Stream] = OrderedDict()

    def new(self, sample_rate: int) -> tuple[str, Stream]:
        """A stream, and the key to ask for it."""
        key = secrets.token_urlsafe(12)
        self._kept[key] = Stream(sample_rate)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return key, self._kept[key]

    def read(self, key: str) -> AsyncIterator[bytes]:
        """The file behind a key, as it is made.

        Raises:
            KeyError: there is none.
        """
        return self._kept[key].read()


def _endless_header(rate: int) -> bytes:
    unknown = 0xFFFFFFFF
    sound = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", unknown, b"WAVE") + sound + struct.pack("<4sI", b"data", unknown)


def tabs(streams: Streams) -> None:
    """Build them, inside Gradio's Blocks."""
    import gradio as gr

    with _tab("Speak", streams, speak, "speech") as inputs:
        inputs.append(
            gr.Textbox(
                "Good morning. It is raining.", lines=3, max_length=LONGEST_TEXT, label="Text", elem_id="speak-text"
            )
        )
        inputs.append(sound_input("speak", "The voice: a recording of 0.5 to 30 s, if any", _voices()))
        inputs.append(gr.Textbox("", label="What is said in the recording, if known"))
    with _tab("Continue", streams, continued, "music") as inputs:
        inputs.append(sound_input("continue", "A recording to go on from"))
        inputs.append(gr.Slider(1, LONGEST_SECONDS, 10, step=1, label="Seconds to add"))
    with _tab("Sound", streams, sound, "sound") as inputs:
        inputs.append(gr.Textbox("a dog barks", max_length=200, label="What is to be heard"))
        inputs.append(gr.Slider(1, 10, 5, step=1, label="Seconds, at most"))


@contextmanager
def _tab(name: str, streams: Streams, make: Any, task: str) -> Iterator[list[Any]]:
    """A tab that generates: its own inputs, put into the list; what all have; two buttons; the result."""
    import gradio as gr

    here = name.lower()
    inputs: list[Any] = []
    inside = (ASSETS / f"xcodec-mini-{task}").is_dir()
    with gr.Tab(name, id=here), gr.Row():
        with gr.Column(scale=1, min_width=280):
            yield inputs
            with gr.Accordion("Model and seed", open=not inside):
                label = f"Folder of the language model for {task}"
                inputs.append(gr.Textbox("", label=label, placeholder="the one in the package" if inside else ""))
                inputs.append(gr.Textbox("xcodec-mini", label="Codec of its tokens: name or folder"))
                inputs.append(gr.Number(0, precision=0, minimum=0, label="Seed"))
            button = gr.Button(name, variant="primary", elem_id=f"{here}-run")
            stop = gr.Button("Stop", elem_id=f"{here}-stop")
        with gr.Column(scale=2, min_width=300):
            about = "Here you will hear what is made, from the moment that its beginning is there."
            live, said = gr.HTML(html.hint(about)), gr.Markdown(elem_id=f"{here}-said")
            result = gr.HTML(elem_id=f"{here}-result")

    def events(*given: Any) -> Iterator[Any]:
        with errors_shown():
            sample_rate, pieces = make(*given)
            yield from _played(streams, sample_rate, pieces)

    running = button.click(events, inputs, [live, said, result], show_progress_on=said, **JOB)
    stop.click(lambda: "Stopped.", None, said, cancels=[running], api_visibility="private")


def _played(streams: Streams, sample_rate: int, pieces: Iterable[Tensor]) -> Iterator[Any]:
    import gradio as gr

    key, out = streams.new(sample_rate)
    made: list[Any] = []
    try:
        for piece in pieces:
            made.append(piece[0].numpy())
            out.put(made[-1])
            seconds = sum(map(len, made)) / sample_rate
            yield html.live(f"stream/{key}") if len(made) == 1 else gr.skip(), f"{seconds:.1f} s so far …", ""
    finally:
        out.ended = True
    if not made:
        raise AppError("The language model ended at once; try another seed.")
    wav = np.concatenate(made)
    shown = html.players([html.player("The whole", wav, sample_rate)], switch=False)
    yield (
        gr.skip(),
        f"{len(wav) / sample_rate:.1f} s.",
        shown + html.downloads({"made.wav": html.wav_bytes(wav, sample_rate)}),
    )


@functools.lru_cache(2)
def _speaker(model: str, codec: str) -> TextToSpeech:
    return TextToSpeech(model or None, codec_of(codec))


def speak(text: str, voice: str | None, words: str, model: str, codec: str, seed: int) -> tuple[int, Iterator[Tensor]]:
    """Sample rate, and pieces of audio."""
    if not text.strip():
        raise AppError("There is no text to speak.")
    tts = _speaker(model.strip(), codec)
    prompt_text = words.strip() or None if voice else None
    return tts.sample_rate, tts.stream(text, voice, prompt_text, seed=int(seed))


def _voices() -> dict[str, str]:
    """Those in the package: names and paths."""
    folder = ASSETS / "xcodec-mini-speech" / "voices"
    return {path.stem: str(path) for path in sorted(folder.glob("*" + TOKEN_SUFFIX))}


def _folder(model: str, task: str) -> Path:
    folder = Path(model.strip()) if model.strip() else ASSETS / f"xcodec-mini-{task}"
    if not folder.is_dir():
        raise AppError(f"There is no folder {folder}." if model.strip() else f"Name the folder of a model for {task}.")
    return folder


def continued(file: str | None, seconds: float, model: str, codec: str, seed: int) -> tuple[int, Iterator[Tensor]]:
    """Sample rate, and pieces of audio: the prompt, and what follows it."""
    prompt, opened = chosen(file), codec_of(codec)
    generator = MusicGenerator(_folder(model, "music"), opened)
    begun = generator.read_prompt(prompt)
    new = generator.generate(begun, MusicOptions(seconds=seconds, seed=int(seed)))
    return opened.sample_rate, decode_stream(opened, chain([begun], new))


def sound(caption: str, seconds: float, model: str, codec: str, seed: int) -> tuple[int, Iterator[Tensor]]:
    """Sample rate, and pieces of audio."""
    opened = codec_of(codec)
    generator = SoundGenerator(_folder(model, "sound"), opened)
    codes = generator.generate(caption, SoundOptions(seconds=seconds, seed=int(seed)))
    return opened.sample_rate, decode_stream(opened, [codes])

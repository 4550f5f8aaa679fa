"""The tabs Speak, Continue and Sound: language models, whose audio plays while it is made."""

from __future__ import annotations

import functools
import secrets
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from xcodec.app import html
from xcodec.app.clips import JOB, AppError, Wav, chosen, codec_of, samples, shows_errors
from xcodec.generate.codec_io import decode_stream, default_model
from xcodec.generate.music_and_sound import MusicGenerator, MusicOptions, SoundGenerator, SoundOptions
from xcodec.generate.speech import TextToSpeech

LONGEST_TEXT = 1000
"""Characters."""
LONGEST_SECONDS = 60.0
KEPT = 8
"""Streams that can be asked for."""


class Stream:
    """Audio that is played while it is made: pieces in from a job, a WAV file of unknown length out to players."""

    def __init__(self, sample_rate: int) -> None:
        self._pieces = [_endless_header(sample_rate)]
        self._ended = False
        self._changed = threading.Condition()

    def put(self, wav: Wav) -> None:
        """More of it."""
        with self._changed:
            self._pieces.append((32767 * np.clip(wav, -1, 1)).astype("<i2").tobytes())
            self._changed.notify_all()

    def end(self) -> None:
        """It is whole."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def read(self) -> Iterator[bytes]:
        """From the beginning on, as it comes; a browser may ask more than once."""
        for number in count():
            with self._changed:
                self._changed.wait_for(lambda number=number: number < len(self._pieces) or self._ended)
                if number >= len(self._pieces):
                    return
                piece = self._pieces[number]
            yield piece


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

    def read(self, key: str) -> Iterator[bytes]:
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

    with gr.Tab("Speak", id="speak"):
        text = gr.Textbox(
            "Good morning. It is raining.", lines=3, max_length=LONGEST_TEXT, label="Text", elem_id="speak-text"
        )
        voice = gr.File(label="A recording of the voice to speak in (0.5 to 30 s), if any", type="filepath", height=140)
        words = gr.Textbox(label="What is said in it, if known")
        inputs = [text, voice, words, *_common()]
        _run(gr.Button("Speak", variant="primary", elem_id="speak-run"), "speak", speak, inputs, streams)
    with gr.Tab("Continue", id="continue"):
        file = gr.File(label="A recording to go on from", type="filepath", height=140)
        sample = gr.Dropdown([("none", ""), *samples().items()], value="", label="Sample")
        seconds = gr.Slider(1, LONGEST_SECONDS, 10, step=1, label="Seconds to add")
        inputs = [file, sample, seconds, *_common()]
        _run(gr.Button("Continue", variant="primary", elem_id="continue-run"), "continue", continued, inputs, streams)
    with gr.Tab("Sound", id="sound"):
        caption = gr.Textbox("a dog barks", max_length=200, label="What is to be heard")
        seconds = gr.Slider(1, 10, 5, step=1, label="Seconds, at most")
        inputs = [caption, seconds, *_common()]
        _run(gr.Button("Make the sound", variant="primary", elem_id="sound-run"), "sound", sound, inputs, streams)


def _common() -> list[Any]:
    import gradio as gr

    return [
        gr.Textbox(label="Folder of the language model; empty: the one in the package"),
        gr.Textbox("xcodec-mini", label="Codec of its tokens: name or folder"),
        gr.Number(0, precision=0, minimum=0, label="Seed"),
    ]


def _run(button: Any, name: str, make: Any, inputs: list[Any], streams: Streams) -> None:
    """Let a button generate, with a player that begins at once, progress, and at the end the whole."""
    import gradio as gr

    live, said, result = gr.HTML(), gr.Markdown(elem_id=f"{name}-said"), gr.HTML(elem_id=f"{name}-result")

    def events(*given: Any) -> Iterator[Any]:
        yield "", "Loading the model …", ""
        sample_rate, pieces = make(*given)
        yield from _played(streams, sample_rate, pieces)

    button.click(shows_errors(events), inputs, [live, said, result], **JOB)


def _played(streams: Streams, sample_rate: int, pieces: Iterable[Tensor]) -> Iterator[Any]:
    import gradio as gr

    key, out = streams.new(sample_rate)
    made: list[Any] = []
    try:
        for piece in pieces:
            made.append(piece[0].numpy())
            out.put(made[-1])
            seconds = sum(map(len, made)) / sample_rate
            player = (
                f'<div class="xc"><audio controls autoplay aria-label="As it is made" src="stream/{key}"></audio></div>'
            )
            yield player if len(made) == 1 else gr.skip(), f"{seconds:.1f} s so far …", ""
    finally:
        out.end()
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


def _folder(model: str, task: str) -> Path:
    return Path(model.strip()) if model.strip() else default_model(task)


def continued(
    file: str | None, sample: str, seconds: float, model: str, codec: str, seed: int
) -> tuple[int, Iterator[Tensor]]:
    """Sample rate, and pieces of audio: the prompt, and what follows it."""
    prompt, opened = chosen(file, sample), codec_of(codec)
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

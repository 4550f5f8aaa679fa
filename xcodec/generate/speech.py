"""Text to speech, in the voice of a prompt: VALL-E's two stages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcodec.engine.engine import Codec
from xcodec.generate.common import GenerateError, check_pair, read_prompt
from xcodec.lm.alignment import expected_frames
from xcodec.lm.checkpoint import load_autoregressive, load_refining
from xcodec.lm.config import TextConfig
from xcodec.lm.generation import Generated, Limits, Request, Sampling, frames, generate, refine
from xcodec.lm.layout import context
from xcodec.lm.model import AutoregressiveLM, RefiningLM
from xcodec.lm.text import read, sentences
from xcodec.lm.text_encoder import Script, whole_frames, write_script

SHORTEST_PROMPT, LONGEST_PROMPT = 0.5, 30.0
VOICE_SECONDS = 3.0
"""How much of a prompt without a transcript is used; the models are trained on prompts up to this length."""
SLOWEST, FASTEST = 2.0, 0.5
"""How long symbols may last in a beginning that is to be continued, times what is usual."""


@dataclass(frozen=True)
class Voice:
    """Whose voice, from a recording."""

    codes: Tensor
    """int64 [K, F], all codebooks."""
    text: str | None = None
    """What is said in it (nothing, if the recording is the beginning of the sentence itself). Then the text is spoken
    as its continuation; if it is not known, as something else by the same voice."""


@dataclass(frozen=True)
class SpeechOptions:
    """How to speak."""

    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.7, top_p=0.9))
    refining: Sampling | None = None
    """Of the second stage. None takes the likeliest codes."""
    seed: int = 0
    samples: int = 1
    """Of each sentence; the likeliest is taken."""
    guidance: float = 1.0
    """How much the text is stressed; 1 is not at all, and needs half the time."""
    speed: float = 1.0
    """2 speaks twice as fast as is usual in the training data, or as what is continued. Models of aligned text only."""
    refine: bool = True
    """False stops after the first stage, to hear what it can do alone."""


class SpeechGenerator:
    """The two models and the codec.

    Args:
        folder: of the models: ``ar`` in it says the first codebook, or the first few, and ``nar``, if it is there, the
            others. It may also be the first model itself.
        codec: the one on whose tokens they were trained.

    Raises:
        CheckpointError: there are no such models.
        GenerateError: another codec, or models of other tasks.
    """

    def __init__(self, folder: Path, codec: Codec) -> None:
        first = folder / "ar" if (folder / "ar").is_dir() else folder
        self.first: AutoregressiveLM = load_autoregressive(first)
        self.second: RefiningLM | None = load_refining(folder / "nar") if (folder / "nar").is_dir() else None
        self.codec = codec
        if self.first.config.text is None:
            raise GenerateError(f"{folder} holds a model that reads no text")
        self.text: TextConfig = self.first.config.text
        for model in (self.first, self.second):
            if model is not None:
                check_pair(model, codec)

    def read_voice(self, path: Path, text: str | None = None) -> Voice:
        """A voice from a recording, and what is said in it, if that is known.

        Raises:
            GenerateError: the recording is silent, or too short or long.
            TextError: the text cannot be read.
        """
        if text is not None:
            read(text, self.text)
        codes = read_prompt(path, self.codec, self.first.config.codec.codebooks, SHORTEST_PROMPT, LONGEST_PROMPT)
        if text is None:
            codes = codes[:, : round(VOICE_SECONDS * self.codec.frame_rate)]
        return Voice(codes, text)

    def speak(self, text: str, voice: Voice | None = None, options: SpeechOptions | None = None) -> Iterator[Tensor]:
        """Codes int64 [K, f] as they come: of the first stage alone frame by frame, else sentence by sentence.

        Raises:
            TextError: a sentence cannot be read.
        """
        options = options or SpeechOptions()
        parts = sentences(text, self.text)
        for part in parts:  # what cannot be read is known before anything is heard
            read(part, self.text)
        one_stage = self.second is None or not options.refine
        for number, part in enumerate(parts):
            if one_stage and options.samples == 1:
                for frame in frames(self.first, self._request(part, voice, options, options.seed + number)):
                    yield frame.codes[0][:, None].cpu()
            else:
                yield self.say(part, voice, options, options.seed + number)

    def say(self, sentence: str, voice: Voice | None, options: SpeechOptions, seed: int) -> Tensor:
        """One sentence: codes int64 [K, F]; without a second stage, those of the first."""
        made = self.first_stage(sentence, voice, options, seed)[0].codes.cpu()
        return self.refine(sentence, voice, made, options, seed) if options.refine else made

    def refine(self, sentence: str, voice: Voice | None, first: Tensor, options: SpeechOptions, seed: int) -> Tensor:
        """The second stage: codes int64 [k, F] to [K, F]; without one, and of nothing, as they were."""
        if self.second is None or not first.shape[1]:
            return first
        prompt, begun = _parts(voice, self.second.config.codebooks)
        return refine(
            self.second,
            self._read(sentence, voice),
            prompt,
            first,
            options.refining,
            seed,
            begun,
            self.script(sentence, voice, options),
        )

    def script(self, sentence: str, voice: Voice | None, options: SpeechOptions) -> Script | None:
        """What is to be said in each frame, those of a beginning included; None where the text is not aligned."""
        model = self.first
        if options.speed <= 0:
            raise GenerateError(f"speed must be positive, not {options.speed:g}")
        if model.reader is None or model.timing is None or model.aligner is None:
            if options.speed != 1:
                raise GenerateError("this model's text is not aligned: it speaks at the speed that it learnt")
            return None
        text = self._read(sentence, voice)
        usual = _usual_durations(model, text)
        begun = None if voice is None or voice.text is None else voice.codes
        if begun is None or not begun.shape[1]:
            return write_script(model.vocabulary, text, whole_frames(usual / options.speed))
        (said,) = model.aligner([text], [begun.cpu().numpy()], begun=True)
        return write_script(model.vocabulary, text, _continued(torch.from_numpy(said), usual, options.speed))

    def first_stage(self, sentence: str, voice: Voice | None, options: SpeechOptions, seed: int) -> list[Generated]:
        """Samples of the first stage, likeliest first."""
        return generate(self.first, self._request(sentence, voice, options, seed))

    def _request(self, sentence: str, voice: Voice | None, options: SpeechOptions, seed: int) -> Request:
        model, script = self.first, self.script(sentence, voice, options)
        symbols = self._read(sentence, voice) if script is None else None
        prompt, begun = _parts(voice, model.config.codebooks)
        if script is None:
            length = limits(expected_frames(read(sentence, self.text), model.config))
        else:
            length = Limits(max(1, script.frames - begun.shape[1]), max(1, script.frames - begun.shape[1]))
        return Request(
            context(model.vocabulary, model.pattern, symbols, prompt),
            begun,
            length,
            options.sampling,
            seed,
            options.samples,
            guidance=options.guidance,
            unconditional=context(model.vocabulary, model.pattern, symbols, prompt, without_text=True),
            script=script,
        )

    def _read(self, sentence: str, voice: Voice | None) -> list[int]:
        before = "" if voice is None or voice.text is None else voice.text
        return read(f"{before} {sentence}", self.text)


def _parts(voice: Voice | None, codebooks: int) -> tuple[Tensor | None, Tensor]:
    """Codes of the voice saying something else, or none; and what is to be continued, [K, 0] if nothing is."""
    if voice is None:
        return None, torch.zeros(codebooks, 0, dtype=torch.int64)
    if voice.text is None:
        return voice.codes[:codebooks], torch.zeros(codebooks, 0, dtype=torch.int64)
    return None, voice.codes[:codebooks]


@torch.inference_mode()
def _usual_durations(model: AutoregressiveLM, text: list[int]) -> Tensor:
    """How many frames each symbol usually lasts: float [len(text) + 2], with the silence before and after."""
    assert model.reader is not None
    assert model.timing is not None
    blank = write_script(model.vocabulary, text, np.zeros(len(text) + 2, np.int64))
    device = next(model.parameters()).device
    return model.timing(model.reader(blank.text[None].to(device)))[0].float().cpu()


def _continued(said: Tensor, usual: Tensor, speed: float) -> NDArray[np.int64]:
    """Durations of a text of which a beginning was said: what it took, and the rest at the pace of the beginning.

    Args:
        said: int64 [T], frames of each symbol in the beginning.
        usual: float [T], frames that each usually lasts.
        speed: of the rest, times that of the beginning.
    """
    last = int(said.nonzero()[-1])
    rest = usual.clone()
    if last > 1:  # the silence before says nothing of the pace, nor does a symbol that may not be over
        rest *= (said[1:last].sum() / usual[1:last].sum()).clamp(FASTEST, SLOWEST)
    rest /= speed
    rest[:last] = 0
    rest[last] = (rest[last] - said[last]).clamp(min=0)
    return said.numpy() + whole_frames(rest)


def limits(expected: float) -> Limits:
    """How many frames may be said where so many are expected: about a third to twice, so that nothing babbles on."""
    return Limits(most=round(2 * expected) + 25, least=max(1, round(expected / 3)))

"""Text to speech in the voice of a recording: VALL-E's two language models and the codec whose tokens they predict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xcodec.engine.engine import Codec, Engine, load
from xcodec.generate.codec_io import (
    GenerateError,
    check_codec,
    check_options,
    decode_stream,
    default_model,
    encode_prompt,
)
from xcodec.inference.batch import TOKEN_SUFFIX
from xcodec.lm.alignment import expected_frames
from xcodec.lm.checkpoint import load_autoregressive, load_nonautoregressive
from xcodec.lm.config import TextConfig
from xcodec.lm.generation import (
    LARGEST_SEED,
    Generated,
    Limits,
    Request,
    Sampling,
    generate,
    generate_frames,
    generate_nar,
)
from xcodec.lm.layout import context
from xcodec.lm.model import AutoregressiveLM, NonAutoregressiveLM
from xcodec.lm.text import paragraphs, text_to_symbols
from xcodec.lm.text_encoder import AlignedText, round_durations

SHORTEST_PROMPT, LONGEST_PROMPT = 0.5, 30.0
"""Seconds."""
PROMPT_SECONDS = 3.0
"""How much of a prompt without a transcript is used; the models are trained on prompts up to this length."""
SENTENCE_PAUSE, PARAGRAPH_PAUSE = 0.25, 0.7
"""Seconds of silence after each, besides what the model makes."""
SLOWEST, FASTEST = 2.0, 0.5
"""Bounds of a continued recording's durations, relative to the predicted ones."""


@dataclass(frozen=True)
class VoicePrompt:
    """A speaker prompt: a recording of the voice to imitate, as codes."""

    codes: Tensor
    """int64 [K, F], all codebooks."""
    text: str | None = None
    """Its transcript (empty, if the recording is the beginning of the sentence itself). The text is then spoken as its
    continuation; without one, as other words of the same speaker."""


@dataclass(frozen=True)
class SpeechOptions:
    """Sampling and durations of speech."""

    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.7, top_p=0.9))
    nar_sampling: Sampling | None = None
    """Of the non-autoregressive model; None takes the likeliest codes."""
    seed: int = 0
    samples: int = 1
    """Of each sentence; the likeliest is taken."""
    guidance: float = 1.0
    """Scale of classifier-free guidance by the text; 1 is none, and takes half the time."""
    speed: float = 1.0
    """2 speaks twice as fast as the training data, or as what is continued. Models with aligned text only."""
    nar: bool = True
    """False leaves out the non-autoregressive model, to evaluate the first one alone."""

    def __post_init__(self) -> None:
        check_options(self.seed, guidance=self.guidance, speed=self.speed)
        if self.speed <= 0:
            raise GenerateError(f"speed must be positive, not {self.speed:g}")


class TextToSpeech:
    """Speech from text.

        tts = xcodec.TextToSpeech()
        audio = tts("Good morning.")                       # float32 [1, T] at tts.sample_rate
        audio = tts("Good morning.", prompt="voice.wav", seed=1)
        audio = tts("Good morning.", prompt=tts.voices[0])
        for piece in tts.stream("Call me Ishmael. …"):     # pieces float32 [1, t], the first before all is spoken
            play(piece)

    Args:
        model: folder of the language models: ``ar`` in it predicts the first codebook, or the first few, and ``nar``,
            if it is there, the others, and ``voices`` has prompts as ``.xc`` files. It may also be the first model
            itself. The one in the package by default.
        codec: the one on whose tokens they were trained, or its name or path.
        engine: see :func:`xcodec.load`; of a codec that is loaded here.
        device: of both.

    Raises:
        CheckpointError: there are no such models.
        GenerateError: another codec, or models of other tasks.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        codec: str | Path | Codec | None = None,
        engine: Engine = "exact",
        device: str | torch.device = "cpu",
    ) -> None:
        folder = Path(model) if model is not None else default_model("speech")
        self._voices = {path.stem: path for path in sorted((folder / "voices").glob("*" + TOKEN_SUFFIX))}
        first = folder / "ar" if (folder / "ar").is_dir() else folder
        self.ar: AutoregressiveLM = load_autoregressive(first).to(device)
        self.nar: NonAutoregressiveLM | None = None
        if (folder / "nar").is_dir():
            self.nar = load_nonautoregressive(folder / "nar").to(device)
        if self.ar.config.text is None:
            raise GenerateError(f"{folder} holds a model that reads no text")
        self.text: TextConfig = self.ar.config.text
        self.codec = (
            load(codec, engine=engine, device=device) if codec is None or isinstance(codec, str | Path) else codec
        )
        for each in (self.ar, self.nar):
            if each is not None:
                check_codec(each, self.codec)

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.codec.sample_rate

    @property
    def voices(self) -> list[str]:
        """Names of the voices that come with the model, each a prompt."""
        return list(self._voices)

    def __call__(
        self,
        text: str,
        prompt: str | Path | VoicePrompt | None = None,
        prompt_text: str | None = None,
        **options: Any,
    ) -> Tensor:
        """Speak a text of any length.

        Args:
            text: to be spoken.
            prompt: a recording in whose voice to speak, its ``.xc`` file, or one of :attr:`voices`.
            prompt_text: its transcript, if it is known.
            options: fields of :class:`SpeechOptions`, such as ``seed=1``.

        Returns:
            float32 [1, T] at ``sample_rate``.

        Raises:
            TextError: the text cannot be read.
            GenerateError: the prompt is silent, or too short or long; an option cannot be.
        """
        return torch.cat(list(self.stream(text, prompt, prompt_text, **options)), dim=1)

    def stream(
        self,
        text: str,
        prompt: str | Path | VoicePrompt | None = None,
        prompt_text: str | None = None,
        **options: Any,
    ) -> Iterator[Tensor]:
        """As a call, but gives audio as it is made: float32 [1, t] at a time, sentence by sentence."""
        if prompt is not None and not isinstance(prompt, VoicePrompt):
            prompt = self.voice(prompt, prompt_text)
        chosen = SpeechOptions(**options)
        codes = self.codes(text, prompt, chosen)
        if self._by_frame(chosen):
            yield from decode_stream(self.codec, codes)
        else:  # a sentence ends in silence, so that the next needs nothing of it
            yield from (self.codec.decode(piece[None])[0].cpu() for piece in codes)

    def voice(self, path: str | Path, text: str | None = None) -> VoicePrompt:
        """A prompt that can be used again and again.

        Args:
            path: of a recording or its ``.xc`` file, or one of :attr:`voices`.
            text: its transcript, if it is known.

        Raises:
            GenerateError: the recording is silent, or too short or long.
            TextError: the transcript cannot be read.
        """
        if text is not None:
            text_to_symbols(text, self.text)
        codebooks = self.ar.config.codec.codebooks
        path = self._voices.get(str(path), Path(path))
        codes = encode_prompt(path, self.codec, codebooks, SHORTEST_PROMPT, LONGEST_PROMPT)
        if text is None:
            codes = codes[:, : round(PROMPT_SECONDS * self.codec.frame_rate)]
        return VoicePrompt(codes, text)

    def codes(
        self, text: str, prompt: VoicePrompt | None = None, options: SpeechOptions | None = None
    ) -> Iterator[Tensor]:
        """Codes int64 [K, f] as they are made: of the autoregressive model alone frame by frame, else by sentence.

        Raises:
            TextError: a sentence cannot be read.
        """
        options = options or SpeechOptions()
        spoken: list[tuple[str, float]] = []
        for paragraph in paragraphs(text, self.text):
            spoken += [(sentence, SENTENCE_PAUSE) for sentence in paragraph[:-1]]
            spoken.append((paragraph[-1], PARAGRAPH_PAUSE))
        for sentence, _ in spoken:  # what cannot be read is known before anything is spoken
            text_to_symbols(sentence, self.text)
        for number, (sentence, pause) in enumerate(spoken):
            seed = (options.seed + number) % LARGEST_SEED
            if self._by_frame(options):
                for frame in generate_frames(self.ar, self._request(sentence, prompt, options, seed)):
                    yield frame.codes[0][:, None].cpu()
                made = torch.zeros(self.ar.config.codebooks, 0, dtype=torch.int64)
            else:
                made = self.sentence(sentence, prompt, options, seed)
            if number < len(spoken) - 1:
                made = torch.cat([made, self._silence(pause)[: len(made)]], dim=1)
            if made.shape[1]:
                yield made

    def _by_frame(self, options: SpeechOptions) -> bool:
        return (self.nar is None or not options.nar) and options.samples == 1

    def sentence(
        self, sentence: str, prompt: VoicePrompt | None = None, options: SpeechOptions | None = None, seed: int = 0
    ) -> Tensor:
        """One sentence: codes int64 [K, F]; without a non-autoregressive model, those of the first alone."""
        options = options or SpeechOptions()
        codes = self.autoregressive(sentence, prompt, options, seed)[0].codes.cpu()
        return self.nonautoregressive(sentence, prompt, codes, options, seed) if options.nar else codes

    def autoregressive(
        self, sentence: str, prompt: VoicePrompt | None, options: SpeechOptions, seed: int
    ) -> list[Generated]:
        """Samples of the autoregressive model, likeliest first."""
        return generate(self.ar, self._request(sentence, prompt, options, seed))

    def nonautoregressive(
        self, sentence: str, prompt: VoicePrompt | None, codes: Tensor, options: SpeechOptions, seed: int
    ) -> Tensor:
        """Codes int64 [k, F] to [K, F]; without a non-autoregressive model, and of nothing, as they were."""
        if self.nar is None or not codes.shape[1]:
            return codes
        speaker, prefix = _speaker_and_prefix(prompt, self.nar.config.codebooks)
        aligned = self.aligned_text(sentence, prompt, options)
        symbols = self._read(sentence, prompt)
        return generate_nar(self.nar, symbols, speaker, codes, options.nar_sampling, seed, prefix, aligned)

    def aligned_text(self, sentence: str, prompt: VoicePrompt | None, options: SpeechOptions) -> AlignedText | None:
        """The text and its frames, those of a continued recording included; None where the text is not aligned."""
        model = self.ar
        if model.text_encoder is None or model.duration_model is None or model.aligner is None:
            if options.speed != 1:
                raise GenerateError("this model's text is not aligned: it speaks at the speed that it learnt")
            return None
        text = self._read(sentence, prompt)
        predicted = _predicted_durations(model, text)
        prefix = None if prompt is None or prompt.text is None else prompt.codes
        if prefix is None or not prefix.shape[1]:
            durations = round_durations(predicted / options.speed)
        else:
            (spoken,) = model.aligner([text], [prefix.cpu().numpy()], partial=True)
            durations = _continued_durations(torch.from_numpy(spoken), predicted, options.speed)
        return AlignedText.from_durations(model.vocabulary, text, durations)

    def _request(self, sentence: str, prompt: VoicePrompt | None, options: SpeechOptions, seed: int) -> Request:
        model, aligned = self.ar, self.aligned_text(sentence, prompt, options)
        symbols = self._read(sentence, prompt) if aligned is None else None
        speaker, prefix = _speaker_and_prefix(prompt, model.config.codebooks)
        if aligned is None:
            limits = length_limits(expected_frames(text_to_symbols(sentence, self.text), model.config))
        else:
            frames = max(1, aligned.frames - prefix.shape[1])
            limits = Limits(frames, frames)
        return Request(
            context(model.vocabulary, model.pattern, symbols, speaker),
            prefix,
            limits,
            options.sampling,
            seed,
            options.samples,
            guidance=options.guidance,
            unconditional=context(model.vocabulary, model.pattern, symbols, speaker, without_text=True),
            aligned_text=aligned,
        )

    def _read(self, sentence: str, prompt: VoicePrompt | None) -> list[int]:
        before = "" if prompt is None or prompt.text is None else prompt.text
        return text_to_symbols(f"{before} {sentence}", self.text)

    def _silence(self, seconds: float) -> Tensor:
        """Codes int64 [K, F]."""
        return self.codec.encode(torch.zeros(1, 1, round(seconds * self.codec.sample_rate)))[0].cpu()


def _speaker_and_prefix(prompt: VoicePrompt | None, codebooks: int) -> tuple[Tensor | None, Tensor]:
    """Codes [K, F] of the speaker saying other words, or none; and those to be continued, [K, 0] if there are none."""
    nothing = torch.zeros(codebooks, 0, dtype=torch.int64)
    if prompt is None:
        return None, nothing
    codes = prompt.codes[:codebooks]
    return (codes, nothing) if prompt.text is None else (None, codes)


@torch.inference_mode()
def _predicted_durations(model: AutoregressiveLM, text: list[int]) -> Tensor:
    """Frames of each symbol by the duration model: float [len(text) + 2], with the silence before and after."""
    assert model.text_encoder is not None
    assert model.duration_model is not None
    tokens = AlignedText.from_durations(model.vocabulary, text, np.zeros(len(text) + 2, np.int64)).text
    device = next(model.parameters()).device
    return model.duration_model(model.text_encoder(tokens[None].to(device)))[0].float().cpu()


def _continued_durations(spoken: Tensor, predicted: Tensor, speed: float) -> NDArray[np.int64]:
    """Durations of a text of which a beginning was recorded: what it took, and the rest at its pace.

    Args:
        spoken: int64 [T], frames of each symbol in the recording.
        predicted: float [T], frames by the duration model.
        speed: of the rest, relative to that of the recording.
    """
    last = int(spoken.nonzero()[-1])
    rest = predicted.clone()
    if last > 1:  # the silence before says nothing of the pace, nor does a symbol that may not be over
        rest *= (spoken[1:last].sum() / predicted[1:last].sum()).clamp(FASTEST, SLOWEST)
    rest /= speed
    rest[:last] = 0
    rest[last] = (rest[last] - spoken[last]).clamp(min=0)
    return spoken.numpy() + round_durations(rest)


def length_limits(expected: float) -> Limits:
    """From about a third to twice the expected frames, so that a model without alignment cannot babble on."""
    return Limits(maximum=round(2 * expected) + 25, minimum=max(1, round(expected / 3)))

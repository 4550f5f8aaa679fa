"""Generation with the trained models. What is there is not made again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from experiments.codec_does_matter.comparison import MODELS, MUSIC_RESYNTHESIS, ComparedCodec, Comparison
from experiments.codec_does_matter.held_out import Utterance, keyword_classes, music, sounds, utterances
from xcodec import audio
from xcodec.data.manifest import AudioItem, read_span
from xcodec.engine.engine import Codec, load
from xcodec.generate.music_and_sound import MusicGenerator, MusicOptions, SoundGenerator, SoundOptions
from xcodec.generate.speech import SpeechOptions, TextToSpeech, VoicePrompt
from xcodec.lm.checkpoint import load_nonautoregressive
from xcodec.utils.parallel import run_all

PROMPT_SECONDS = 3.0
MUSIC_PROMPT, MUSIC_NEW = 5.0, 10.0
SOUNDS_PER_CLASS = 20

Say = Callable[[str], None]


def read_item(item: AudioItem, sample_rate: int, first: int = 0, samples: int | None = None) -> np.ndarray:
    """A recording, float32 [T], at a rate."""
    span = read_span(item, first, item.samples - first if samples is None else samples)
    return audio.resample(span[None], item.sample_rate, sample_rate)[0]


def encode(codec: Codec, wav: np.ndarray) -> torch.Tensor:
    """All codes [K, F]."""
    return codec.encode(torch.from_numpy(np.ascontiguousarray(wav)))[0]


def write(path: Path, codec: Codec, codes: torch.Tensor) -> None:
    """Codes [K, F] as a file; nothing said is a moment of silence, which counts as all words lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = codec.decode(codes[None])[0].numpy() if codes.shape[1] else np.zeros((1, codec.sample_rate // 4), np.float32)
    audio.write(path, wav, codec.sample_rate)


def make_speech(comparison: Comparison, count: int, jobs: int, say: Say) -> None:
    """Every held-out sentence: real, resynthesised, by the first stage alone, and by both."""
    for utterance in utterances(comparison.speech, count):
        path = comparison.out / "made" / "original" / f"{utterance.name}.wav"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.write(path, read_item(utterance.real, 16_000)[None], 16_000)
    codecs = comparison.codecs
    run_all(resynthesise_all, [(comparison, codec, count, say) for codec in codecs], jobs)
    spoken = [(comparison, codec, seed, count, say) for seed in comparison.seeds for codec in codecs]
    run_all(speak_all, spoken, jobs)


def resynthesise_all(comparison: Comparison, compared: ComparedCodec, count: int, say: Say) -> None:
    """Every held-out utterance through a codec alone."""
    say(f"{compared.name}: resynthesis of {count} utterances")
    codec = load(compared.source)
    for utterance in utterances(comparison.speech, count):
        resynthesise(comparison, compared, codec, utterance)


def speak_all(comparison: Comparison, compared: ComparedCodec, seed: int, count: int, say: Say) -> None:
    """Every held-out sentence by the models of one codec and seed."""
    say(f"{compared.name}: {count} sentences, seed {seed}")
    codec = load(compared.source)
    speaker = TextToSpeech(comparison.model(compared, "speech-ar-mini", seed), codec)
    speaker.nar = load_nonautoregressive(comparison.model(compared, "speech-nar-mini", seed))
    for index, utterance in enumerate(utterances(comparison.speech, count)):
        speak(comparison, compared, speaker, utterance, seed, seed * 100_000 + index)


def resynthesise(comparison: Comparison, compared: ComparedCodec, codec: Codec, utterance: Utterance) -> None:
    """What no language model on these tokens can surpass."""
    paths = {k: comparison.made(compared, f"resynthesis-{k}", 0) / f"{utterance.name}.wav" for k in (1, 8)}
    if all(path.exists() for path in paths.values()):
        return
    codes = encode(codec, read_item(utterance.real, codec.sample_rate))
    for codebooks, path in paths.items():
        write(path, codec, codes[:codebooks])


def speak(
    comparison: Comparison,
    compared: ComparedCodec,
    speaker: TextToSpeech,
    utterance: Utterance,
    seed: int,
    rng_seed: int,
) -> None:
    """With the voice of another clip; and as the continuation of the utterance's own beginning, as in the paper."""
    codec = speaker.codec
    frames = round(PROMPT_SECONDS * codec.frame_rate)
    for mode in ("voice", "continuation"):
        first, both = (
            comparison.made(compared, f"{mode}-{stage}", seed) / f"{utterance.name}.wav" for stage in ("ar", "ar+nar")
        )
        if both.exists():
            continue
        if mode == "voice":
            voice = VoicePrompt(encode(codec, read_item(utterance.prompt, codec.sample_rate))[:, :frames])
            begun = voice.codes[:, :0]
        else:
            own = encode(codec, read_item(utterance.real, codec.sample_rate))
            begun = own[:, : min(frames, own.shape[1] // 2)]
            voice = VoicePrompt(begun, text="")
        options = SpeechOptions(nar=False)
        level_one = speaker.sentence(utterance.text, voice, options, rng_seed)
        write(first, codec, torch.cat([begun[: len(level_one)], level_one], dim=1))
        whole = speaker.nonautoregressive(utterance.text, voice, level_one, options, rng_seed)
        write(both, codec, torch.cat([begun, whole], dim=1))


def make_music(comparison: Comparison, count: int, jobs: int, say: Say) -> None:
    """Continuations of held-out pieces, beside what really follows, and that through the codec."""
    for index, (item, first) in enumerate(music(comparison.corpus, MUSIC_PROMPT + MUSIC_NEW, count)):
        path = comparison.out / "made" / "music-original" / f"{index:03d}.wav"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            begin = first + round(MUSIC_PROMPT * item.sample_rate)
            follows = read_item(item, 16_000, begin, round(MUSIC_NEW * item.sample_rate))
            audio.write(path, follows[None], 16_000)
    codecs = comparison.codecs
    run_all(resynthesise_music, [(comparison, codec, count, say) for codec in codecs], jobs)
    parts = [
        (comparison, codec, model, seed, count, say)
        for seed in comparison.seeds
        for model in MODELS["music"]
        for codec in codecs
    ]
    run_all(play_all, parts, jobs)


def resynthesise_music(comparison: Comparison, compared: ComparedCodec, count: int, say: Say) -> None:
    """What really follows, in as many codebooks as the models have: no model on these tokens can surpass it."""
    say(f"{compared.name}: resynthesis of {count} pieces")
    codec = load(compared.source)
    for index, (item, first) in enumerate(music(comparison.corpus, MUSIC_PROMPT + MUSIC_NEW, count)):
        paths = {k: comparison.made(compared, what, 0) / f"{index:03d}.wav" for what, k in MUSIC_RESYNTHESIS.items()}
        if all(path.exists() for path in paths.values()):
            continue
        span = round((MUSIC_PROMPT + MUSIC_NEW) * item.sample_rate)
        codes = encode(codec, read_item(item, codec.sample_rate, first, span))
        for codebooks, path in paths.items():
            write(path, codec, codes[:codebooks, round(MUSIC_PROMPT * codec.frame_rate) :])


def play_all(comparison: Comparison, compared: ComparedCodec, model: str, seed: int, count: int, say: Say) -> None:
    """Every held-out piece continued by one model."""
    say(f"{compared.name}: {model}, seed {seed}, {count} pieces")
    codec = load(compared.source)
    musician = MusicGenerator(comparison.model(compared, model, seed), codec)
    for index, (item, first) in enumerate(music(comparison.corpus, MUSIC_PROMPT + MUSIC_NEW, count)):
        path = comparison.made(compared, model, seed) / f"{index:03d}.wav"
        if path.exists():
            continue
        begun = read_item(item, codec.sample_rate, first, round(MUSIC_PROMPT * item.sample_rate))
        prompt = encode(codec, begun)[: musician.model.config.codebooks]
        options = MusicOptions(MUSIC_NEW, seed=seed * 100_000 + index)
        write(path, codec, torch.cat(list(musician.generate(prompt, options)), dim=1))


def make_sounds(comparison: Comparison, least: int, jobs: int, say: Say) -> None:
    """Sounds of every class that the probe knows, from captions of real ones."""
    parts = [(comparison, codec, seed, least, say) for seed in comparison.seeds for codec in comparison.codecs]
    run_all(sound_all, parts, jobs)


def sound_names(classes: Iterable[str]) -> list[str]:
    """What the sounds of these classes are called, each class together."""
    return [f"{word}-{index:02d}" for word in classes for index in range(SOUNDS_PER_CLASS)]


def sound_all(comparison: Comparison, compared: ComparedCodec, seed: int, least: int, say: Say) -> None:
    """Every class by one model."""
    classes = keyword_classes(sounds(comparison.corpus), least)
    say(f"{compared.name}: sounds, seed {seed}, {len(classes)} classes")
    codec = load(compared.source)
    maker = SoundGenerator(comparison.model(compared, "sound-mini", seed), codec)
    for name in sound_names(classes):
        word, _, index = name.rpartition("-")
        path = comparison.made(compared, "sound", seed) / f"{name}.wav"
        if not path.exists():
            items = classes[word]
            options = replace(SoundOptions(), seed=seed * 100_000 + int(index))
            write(path, codec, maker.generate(items[int(index) % len(items)].text or word, options))

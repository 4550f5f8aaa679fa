"""Scores of every clip that was made.

Spoken clips take a while each, so each has a line of its own, and is not scored again; music and sounds are scored all
together, in a file for each folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.codec_does_matter.comparison import MODELS, MUSIC_RESYNTHESIS, SPEECH_KINDS, Comparison
from experiments.codec_does_matter.distance import Embedder, Embedding, Probe, cross_validate, frechet, nearness
from experiments.codec_does_matter.held_out import keyword_classes, sounds, utterances
from experiments.codec_does_matter.make_audio import read_item, sound_names
from xcodec import audio
from xcodec.data.manifest import BrokenAudioError
from xcodec.evaluate.asr import Recogniser, errors
from xcodec.evaluate.metrics import MetricError
from xcodec.evaluate.metrics.learned import Dnsmos, Speaker
from xcodec.inference.corpus import alone
from xcodec.utils.parallel import run_all

Say = Callable[[str], None]


def judge_speech(comparison: Comparison, count: int, asr: str, jobs: int, say: Say) -> None:
    """WER, speaker similarity to the prompt, and DNSMOS. (UTMOS needs a download.)"""
    made = comparison.out / "made"
    folders = [made / "original"] + [
        comparison.made(codec, what, seed)
        for what, seeds in SPEECH_KINDS.items()
        for seed in (seeds or comparison.seeds)
        for codec in comparison.codecs
    ]
    (comparison.scores / "speech").mkdir(parents=True, exist_ok=True)
    with alone(comparison.scores / "speech"):
        run_all(judge_spoken, [(comparison, folder, count, asr, say) for folder in folders], jobs)


def judge_spoken(comparison: Comparison, folder: Path, count: int, asr: str, say: Say) -> None:
    """One folder of spoken sentences; each has a journal of its own."""
    journal = comparison.scores / "speech" / f"{folder.name}.jsonl"
    chosen = {utterance.name: utterance for utterance in utterances(comparison.speech, count)}
    judged = {row["name"] for row in read_rows(journal)}
    missing = [name for name in sorted(chosen) if name not in judged and (folder / f"{name}.wav").exists()]
    say(f"{folder.name}: {len(missing)} clips to score")
    if not missing:
        return
    recogniser, speaker, dnsmos = Recogniser(asr), Speaker(), Dnsmos()
    for name in missing:
        utterance = chosen[name]
        wav = audio.read(folder / f"{name}.wav", 16_000)[0][0]
        row: dict[str, Any] = {"name": name}
        try:
            transcript = recogniser.transcribe(wav, "en")
            prompt = read_item(utterance.prompt, 16_000)
            row |= {"speaker": float(speaker.embed(prompt) @ speaker.embed(wav))}
            row |= {"dnsmos": dnsmos(wav, wav)["dnsmos"]}
        except MetricError:  # silence: nothing was said, so every word is lost, and nothing is there to rate
            transcript = ""
        found = errors(utterance.text, transcript, "en")
        append(journal, row | {"transcript": transcript, "word_errors": found.word_errors, "words": found.words})


def embed_folder(folder: Path, embedder: Embedder) -> dict[str, Embedding]:
    """Of every clip in a folder, by name."""
    return {path.stem: embedder(audio.read(path, 16_000)[0][0]) for path in sorted(folder.glob("*.wav"))}


def judge_music(comparison: Comparison, embedders: Sequence[Embedder], say: Say) -> None:
    """Similarity of each continuation to the true one, by the first embedder; Fréchet distance by each.

    Raises:
        ValueError: not all of the audio is there.
    """
    made = comparison.out / "made"
    originals = [embed_folder(made / "music-original", embedder) for embedder in embedders]
    kinds = {
        comparison.made(codec, what, seed)
        for what in (*MUSIC_RESYNTHESIS, *MODELS["music"])
        for seed in (comparison.seeds if what in MODELS["music"] else (0,))
        for codec in comparison.codecs
    }
    names = sorted(originals[0])
    if not names:
        raise ValueError(f"{made / 'music-original'} is empty; run the step `make` first")
    real = [np.stack([of[name] for name in names]) for of in originals]
    others = np.mean([nearness(real[0], np.roll(real[0], away, axis=0)) for away in range(1, len(names))], axis=0)
    write(comparison.scores / "music" / "any other.json", {"clips": _by_name(names, others), "frechet": {}})
    for folder in sorted(kinds):
        if not folder.exists():
            continue
        say(f"{folder.name}: distance to real music")
        found = [_stack(embed_folder(folder, embedder), names, folder) for embedder in embedders]
        score = {
            "clips": _by_name(names, nearness(real[0], found[0])),
            "frechet": {e.name: frechet(*pair) for e, *pair in zip(embedders, real, found, strict=True)},
        }
        write(comparison.scores / "music" / f"{folder.name}.json", score)


def judge_sounds(comparison: Comparison, embedders: Sequence[Embedder], least: int, say: Say) -> None:
    """Whether a probe trained on real sounds finds the captioned class, by the first embedder; Fréchet
    distance by each.

    Raises:
        ValueError: not all of the audio is there.
    """
    classes = keyword_classes(sounds(comparison.corpus), least)
    real = [{word: np.stack(list(_embed(items, e))) for word, items in classes.items()} for e in embedders]
    names = sound_names(classes)
    ceiling, probe = cross_validate(real[0]), Probe(real[0])
    say(f"probe: {len(classes)} classes, accuracy on real sounds {100 * ceiling:.1f} %")
    for seed in comparison.seeds:
        for codec in comparison.codecs:
            folder = comparison.made(codec, "sound", seed)
            if not folder.exists():
                continue
            say(f"{folder.name}: probe")
            found = [_stack(embed_folder(folder, embedder), names, folder) for embedder in embedders]
            sets = [(np.concatenate(list(a.values())), b) for a, b in zip(real, found, strict=True)]
            right = [float(probe(of) == name.rpartition("-")[0]) for name, of in zip(names, found[0], strict=True)]
            score = {
                "clips": dict(zip(names, right, strict=True)),
                "frechet": {e.name: frechet(*pair) for e, pair in zip(embedders, sets, strict=True)},
                "on_real": ceiling,
            }
            write(comparison.scores / "sound" / f"{folder.name}.json", score)


def _by_name(names: list[str], values: Embedding) -> dict[str, float]:
    return dict(zip(names, map(float, values), strict=True))


def _stack(of: dict[str, Embedding], names: list[str], folder: Path) -> Embedding:
    """[n, D], in the order of the names; a clip that was not made is an error."""
    if lacking := set(names) - set(of):
        raise ValueError(f"{folder} lacks {len(lacking)} of {len(names)} clips; run the step `make` to its end")
    return np.stack([of[name] for name in names])


def _embed(items: list[Any], embedder: Embedder) -> Iterator[Embedding]:
    for item in items:
        try:
            yield embedder(read_item(item, 16_000))
        except BrokenAudioError:
            continue


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; a killed run leaves half a one."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.endswith("}")]


def append(path: Path, row: dict[str, Any]) -> None:
    """One line more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write(path: Path, value: dict[str, Any]) -> None:
    """A file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with audio.atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", "utf-8")

"""Scores of every clip that was made, one JSON line each; what is scored is not scored again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from comparison import Comparison
from distance import Embedder, Embedding
from held_out import keyword_classes, sounds, utterances
from make_audio import read_item
from side_by_side import side_by_side

from xcodec import audio
from xcodec.data.reading import BrokenAudioError
from xcodec.evaluate.asr import Recogniser, errors
from xcodec.evaluate.metrics import MetricError
from xcodec.evaluate.metrics.dnsmos import Dnsmos
from xcodec.evaluate.metrics.speaker import Speaker
from xcodec.tokenize import alone

Say = Callable[[str], None]

SPEECH_KINDS: dict[str, tuple[int, ...]] = {
    "resynthesis-1": (0,),
    "resynthesis-8": (0,),
    "continuation-ar": (),
    "continuation-ar+nar": (),
    "voice-ar": (),
    "voice-ar+nar": (),
}
"""What is judged, in this order, and its seeds; without any, the comparison's. A codec alone throws no dice."""


def judge_speech(comparison: Comparison, count: int, asr: str, jobs: int, say: Say) -> None:
    """Word errors, similarity to the prompt's voice, and DNSMOS. UTMOS needs a download, and is left to who has one."""
    made = comparison.out / "made"
    folders = [made / "original"] + [
        comparison.made(contestant, what, seed)
        for what, seeds in SPEECH_KINDS.items()
        for seed in (seeds or comparison.seeds)
        for contestant in comparison.contestants
    ]
    (comparison.scores / "speech").mkdir(parents=True, exist_ok=True)
    with alone(comparison.scores / "speech"):
        side_by_side(judge_spoken, [(comparison, folder, count, asr, say) for folder in folders], jobs)


def judge_spoken(comparison: Comparison, folder: Path, count: int, asr: str, say: Say) -> None:
    """One folder of spoken sentences; each has a journal of its own."""
    journal = comparison.scores / "speech" / f"{folder.name}.jsonl"
    chosen = {utterance.name: utterance for utterance in utterances(comparison.speech, count)}
    judged = {row["name"] for row in read_rows(journal)}
    missing = [name for name in sorted(chosen) if name not in judged and (folder / f"{name}.wav").exists()]
    say(f"{folder.name}: {len(missing)} clips to judge")
    if not missing:
        return
    recogniser, speaker, dnsmos = Recogniser(asr), Speaker(), Dnsmos()
    for name in missing:
        utterance = chosen[name]
        wav = audio.read(folder / f"{name}.wav", 16_000)[0][0]
        row: dict[str, Any] = {"name": name}
        try:
            heard = recogniser.transcribe(wav, "en")
            prompt = read_item(utterance.prompt, 16_000)
            row |= {"speaker": float(speaker.embed(prompt) @ speaker.embed(wav))}
            row |= {"dnsmos": dnsmos(wav, wav)["dnsmos"]}
        except MetricError:  # silence: nothing was said, so every word is lost, and nothing is there to rate
            heard = ""
        found = errors(utterance.text, heard, "en")
        append(journal, row | {"heard": heard, "word_errors": found.word_errors, "words": found.words})


def embed_folder(folder: Path, embedder: Embedder) -> dict[str, Embedding]:
    """Of every clip in a folder, by name."""
    return {path.stem: embedder(audio.read(path, 16_000)[0][0]) for path in sorted(folder.glob("*.wav"))}


def judge_music(comparison: Comparison, embedder: Embedder, say: Say) -> None:
    """Fréchet distance of continuations to what really followed."""
    made = comparison.out / "made"
    real = np.stack(list(embed_folder(made / "music-original", embedder).values()))
    for folder in sorted(p for p in made.iterdir() if "-music-mini" in p.name):
        target = comparison.scores / "music" / f"{folder.name}.json"
        say(f"{folder.name}: distance to real music")
        found = np.stack(list(embed_folder(folder, embedder).values()))
        write(target, {"frechet": embedder.frechet(real, found), "clips": len(found), "embedding": embedder.name})


def judge_sounds(comparison: Comparison, embedder: Embedder, least: int, say: Say) -> None:
    """How often a probe that learnt from real sounds hears the class that was asked for, and Fréchet distance."""
    from distance import Probe, cross_validate

    classes = keyword_classes(sounds(comparison.corpus), least)
    real = {word: np.stack(list(_embed(items, embedder))) for word, items in classes.items()}
    ceiling = cross_validate(real)
    probe = Probe(real)
    everything = np.concatenate(list(real.values()))
    for folder in sorted(p for p in (comparison.out / "made").iterdir() if "-sound-" in p.name):
        say(f"{folder.name}: probe")
        found = embed_folder(folder, embedder)
        right = [float(probe(embedding) == name.rpartition("-")[0]) for name, embedding in found.items()]
        score = {
            "right": right,
            "accuracy_on_real": ceiling,
            "classes": list(classes),
            "frechet": embedder.frechet(everything, np.stack(list(found.values()))),
            "embedding": embedder.name,
        }
        write(comparison.scores / "sound" / f"{folder.name}.json", score)


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
